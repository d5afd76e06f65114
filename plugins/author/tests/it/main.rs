//! The tools as programs, with a real Cargo.
//!
//! Servers are compiled here, so a first run takes minutes: all of them share one target directory,
//! which keeps what they have in common.

mod build;
mod cargo_home;
mod conflict;
mod new;
mod registry;
mod support;
mod walk;
