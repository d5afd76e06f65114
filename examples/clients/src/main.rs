//! A server with the system family alone, for the clients in this folder.

use std::process::ExitCode;

use skep_system as _;

fn main() -> ExitCode {
    skep_server::main()
}
