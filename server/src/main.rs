//! The stock build of Skep: its list of plugins is all there is to it.

use std::process::ExitCode;

use {
    skep_author as _, skep_exec as _, skep_infer as _, skep_model as _, skep_sqlite as _,
    skep_system as _, skep_worker as _,
};

fn main() -> ExitCode {
    skep_server::main()
}
