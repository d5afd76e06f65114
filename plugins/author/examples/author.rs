//! A server with the tools for authors: what the tests drive, and much quicker to link than the stock build.

use std::process::ExitCode;

use {skep_author as _, skep_system as _};

fn main() -> ExitCode {
    skep_server::main()
}
