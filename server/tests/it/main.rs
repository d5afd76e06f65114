//! The server as a process, by its public face: HTTP and the command line.

mod architecture;
mod bad_input;
mod browser;
mod cli;
mod containment;
mod limits;
mod shutdown;
#[cfg(feature = "stock")]
mod stock;
mod support;
mod wire;
