//! Operations that are programs. Linking the crate serves them: `use skep_exec as _;`.

mod ask;
mod config;
mod conversation;
mod folder;
mod lifeline;
mod lines;
mod operation;
mod plugin;
mod process;
mod program;
mod protocol;
mod tail;
