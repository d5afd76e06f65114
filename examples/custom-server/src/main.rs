//! A server of one's own: the plugins one picks, and nothing else.

use std::process::ExitCode;

use {skep_hello as _, skep_system as _};

fn main() -> ExitCode {
    skep_server::main()
}
