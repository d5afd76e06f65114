//! What is measured: a file a kind of work.

pub(crate) mod append;
pub(crate) mod idle;
pub(crate) mod in_flight;
pub(crate) mod jobs;
pub(crate) mod latency;
pub(crate) mod operations;
pub(crate) mod readers;
pub(crate) mod replay;
pub(crate) mod start;
pub(crate) mod stored;
pub(crate) mod stream;
pub(crate) mod tokens;
