//! Operations that keep a cluster of machines, *hives*, and what places jobs on them. Linking the crate
//! serves them: `use skep_hive as _;`.
//!
//! Any Skep server can be another one's hive. Each tells how it is (`GET /v1/heartbeats/stream`); the
//! *queen*, which has the others in its catalog, listens to them, and so knows who is alive, what each has
//! and what it does. A job of a placed operation is brought to its hive by an interceptor: the one that
//! its input names, or the one that fits best. What the hive tells becomes the job's own.
//!
//! - `plugin.rs`: the operations
//! - `hive.rs`, `catalog.rs`: a hive, and those that are kept
//! - `hives.rs`: all of them; `link.rs`, `known.rs`: what is heard of one; `way.rs`: how it's reached;
//!   `abandoned.rs`: what is to be cancelled there
//! - `heartbeat.rs`, `pulse.rs`, `gpu.rs`: what this machine tells of itself; `news.rs`: to whom
//! - `start.rs`, `check.rs`: its server, on its machine (`machine.rs`), over SSH if need be (`ssh.rs`)
//! - `reported.rs`: workers that nobody here has started
//! - `placement.rs`, `choice.rs`: where a job runs; `handover.rs`: a job that another hive does

mod abandoned;
mod catalog;
mod check;
mod choice;
mod config;
mod gpu;
mod handover;
mod heartbeat;
mod hive;
mod hives;
mod known;
mod link;
mod machine;
mod news;
mod placement;
mod plugin;
mod pulse;
mod reported;
mod ssh;
mod start;
mod way;
