//! The skep server and its command line, for every program that links some plugins.
//!
//! A server of one's own is its list of plugins, each named so that it's linked:
//!
//! ```no_run
//! // use {my_plugin as _, another_plugin as _};
//! fn main() -> std::process::ExitCode {
//!     skep_server::main()
//! }
//! ```
//!
//! That program has the whole command line: `serve`, `run`, `jobs`, `operations`, `plugins`, `store`,
//! and the commands that its plugins contribute.
//!
//! The parts: `http/` converts requests into calls of the [`Router`](skep::Router) and back, a file a
//! resource; `server.rs` has the listener and the graceful end; `config.rs` reads the configuration;
//! `listen.rs` finds the socket; `store.rs` finds the store; `cli/` has a file a command.

mod cli;
mod config;
mod http;
mod listen;
mod logging;
mod server;
mod store;

pub use self::cli::main;
