//! The plugin as a server runs it, with real programs.

mod config;
mod conversation;
mod end;
mod environment;
mod folder;
mod limits;
mod support;
