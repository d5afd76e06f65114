//! The server as a process, by its public face: HTTP and the command line.

mod architecture;
mod bad_input;
#[cfg(feature = "stock")]
mod broken_way;
mod browser;
#[cfg(feature = "stock")]
mod chat;
mod cli;
#[cfg(feature = "stock")]
mod cluster;
mod containment;
#[cfg(feature = "stock")]
mod download;
mod idempotency;
mod jobs;
mod limits;
mod listen;
#[cfg(target_os = "linux")]
mod logging;
mod long_log;
mod proxy;
mod restart;
mod routes;
mod schedule;
mod shutdown;
#[cfg(feature = "stock")]
mod stock;
mod store;
mod support;
mod wire;
