//! A server whose operations are programs, all of them: those of `skep.toml` and `operations.d`.

use std::process::ExitCode;

use skep_exec as _;

fn main() -> ExitCode {
    skep_server::main()
}
