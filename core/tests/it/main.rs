//! Behaviour of the crate through its public face.

mod calls;
mod cancellation;
mod containment;
mod input;
mod limits;
mod log;
mod macros;
mod memory;
mod plugins;
mod router;
mod shutdown;
mod signal;
mod store;
mod support;
