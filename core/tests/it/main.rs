//! Behaviour of the crate through its public face.

mod calls;
mod cancellation;
mod checkpoints;
mod containment;
mod documents;
mod idempotency;
mod input;
mod interceptors;
mod limits;
mod log;
mod macros;
mod memory;
mod plugin_context;
mod plugins;
mod recovery;
mod rerouted;
mod restart;
mod retry;
mod router;
mod schedule;
mod shutdown;
mod signal;
mod store;
mod support;
mod testing;
