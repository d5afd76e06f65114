//! Operations that run models in processes of their own. Linking the crate serves them:
//! `use skep_worker as _;`.
//!
//! A *worker* is a child process that holds one model: the server's own program, started as `skep
//! worker`. The two speak JSON lines over its pipes. It's a process so that a model that crashes,
//! or takes all memory, hurts its own jobs only, and so that its memory is free once it's gone.
//!
//! The server's side:
//!
//! - `plugin.rs`: the operations; `config.rs`: what they are told
//! - `catalog.rs`: the workers that run
//! - `running.rs`: one worker, its end; `queue.rs`: its jobs
//! - `supervisor.rs`: its processes, one after the other
//! - `session.rs`: what is asked of one, and what it says; `process.rs`: its pipes
//! - `log.rs`: what it said last
//!
//! Between the two, `protocol.rs`: the lines.
//!
//! The worker's side: `command.rs`, its process; `compute.rs` and `answer.rs`, which alone know the engine
//! (`skep-engine`); `remote.rs`, for models that another server holds.
//!
//! What is deliberately absent: a worker that outlives its server. It ends with its standard input,
//! so nothing has to be found and cleaned up after a crash.

mod answer;
mod catalog;
mod command;
mod compute;
mod config;
mod crashes;
mod driver;
mod liveness;
mod log;
mod plugin;
mod process;
mod protocol;
mod queue;
mod remote;
mod running;
mod session;
mod stdout;
mod supervisor;
mod worker;
