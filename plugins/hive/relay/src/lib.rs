//! Hands a job on to another Skep server, and makes what it does there the job's own.
//!
//! [`Server`] is the other one, over HTTP. [`Relay`] is a job on its way there: its events are relayed
//! as they come, at the pace that the job's own log takes them, over as many connections as it takes;
//! it's [`Abandoned`] with the job, to be cancelled, and has no longer than the job has. [`Handover`]
//! is all that has to be kept to take it up again in another process.
//!
//! A job that is handed on tells how often that has happened to it; past [`MAX_HOPS`] it's refused, so
//! that servers which lead to each other end in an error ([`check_hops`]).
//!
//! - `address.rs`, `connect.rs`: where the server is, and the way there
//! - `connection.rs`, `inner_waker.rs`: its connections, which are driven by who reads what comes by them
//! - `server.rs`: what it's asked
//! - `frames.rs`: the events that it answers with
//! - `relay.rs`: a job that is done there
//! - `outage.rs`: how long it may not answer
//! - `failure.rs`: what can go wrong on the way

mod address;
mod connect;
mod connection;
mod failure;
mod frames;
mod inner_waker;
mod outage;
mod relay;
mod server;

pub use self::address::Address;
pub use self::failure::Failure;
pub use self::frames::{Frame, Frames};
pub use self::relay::{Abandoned, Handover, Lost, MAX_HOPS, Relay, check_hops};
pub use self::server::{JobOrder, Server};
