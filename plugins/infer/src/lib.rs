//! The operation that asks a model: `infer`. Linking the crate serves it: `use skep_infer as _;`.
//!
//! It finds a worker that has the model, or has one started, and relays what the worker says. The
//! workers are another plugin's: `infer` knows the names of its operations, `worker_list`,
//! `worker_get`, `worker_spawn` and `worker_infer`, and nothing else of it.
//!
//! - `plugin.rs`: the operation
//! - `input.rs`, `output.rs`: what it takes and gives
//! - `choice.rs`: which worker

mod choice;
mod input;
mod output;
mod plugin;
