//! A server with a quota and an audit log.

use std::process::ExitCode;

use {skep_interceptor as _, skep_system as _};

fn main() -> ExitCode {
    skep_server::main()
}
