//! The tools for people who write plugins: `skep new`, `skep build`, `skep dev`. Linking the crate
//! adds them to the command line: `use skep_author as _;`. It has no operations.
//!
//! ```console
//! $ skep new plugin shout         # a crate that builds, tests and runs at once
//! $ cd shout && skep dev          # serves it, and again after each change
//! $ skep build --with shout=.     # a server with it in, beside the stock plugins
//! ```
//!
//! The commands:
//!
//! - `new.rs`: writes a crate from a template
//! - `dev.rs`: serves the plugin in this directory, rebuilt when it changes
//! - `build.rs`: builds a server from the plugins that are asked for
//!
//! What they share:
//!
//! - `source.rs`: where Skep's own crates come from
//! - `server_crate.rs`: the small crate that is a server with some plugins
//! - `cargo.rs`: running Cargo, and what it says
//!
//! All that is built is built by Cargo: there is no format of plugins, and no loader. What these
//! tools add is a crate that nobody has to write, and errors that name the plugin.

mod build;
mod cargo;
mod dev;
mod new;
mod server_crate;
mod source;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Write a plugin or a server, ready to build, test and run
#[skep::command]
fn new(arguments: Vec<OsString>) -> ExitCode {
    run::<new::New>(arguments)
}

/// Build a server from the plugins that are asked for
#[skep::command]
fn build(arguments: Vec<OsString>) -> ExitCode {
    run::<build::Build>(arguments)
}

/// Serve the plugin in this directory, and rebuild it when it changes
#[skep::command]
fn dev(arguments: Vec<OsString>) -> ExitCode {
    run::<dev::Dev>(arguments)
}

/// A command's arguments, which are the command.
trait Tool: Parser {
    /// Does it. An error is told to a person and ends the program.
    fn run(self) -> Result<(), Box<dyn Error>>;
}

/// Reads a command's arguments and runs it. Exit codes are those of the whole command line: 1 for a
/// failure, 2 for arguments that can't be understood.
fn run<T: Tool>(arguments: Vec<OsString>) -> ExitCode {
    let name = T::command().get_bin_name().unwrap_or_default().to_owned();
    let tool = match T::try_parse_from(std::iter::once(name.into()).chain(arguments)) {
        Ok(tool) => tool,
        Err(error) => {
            // `--help` is such an error too. What can't be printed has nobody who reads it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match tool.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep: {error}");
            ExitCode::FAILURE
        }
    }
}
