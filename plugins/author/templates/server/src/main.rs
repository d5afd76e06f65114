//! A server: the plugins that it names, and nothing else.
//!
//! A plugin is a dependency in Cargo.toml and a name here. Without the name it isn't linked.

use std::process::ExitCode;

use {skep_sqlite as _, skep_system as _};

fn main() -> ExitCode {
    skep_server::main()
}
