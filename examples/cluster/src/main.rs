//! A server for a cluster of machines that serve models. The queen and her hives are this one program.

use std::process::ExitCode;

use {
    skep_hive as _, skep_infer as _, skep_model as _, skep_sqlite as _, skep_system as _,
    skep_worker as _,
};

fn main() -> ExitCode {
    skep_server::main()
}
