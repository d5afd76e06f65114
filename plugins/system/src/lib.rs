//! Operations about the server itself. Linking the crate serves them: `use skep_system as _;`.
//!
//! - `echo` (`echo.rs`): the smallest stream there is, to try a client or to measure a server
//! - `check` (`check.rs`): one of everything that an operation can do
//! - `status` (`status.rs`): what is here and what goes on, as one tree
//!
//! It knows no other plugin: `status` asks `worker_list` and `model_list`, if they are served.

mod check;
mod echo;
mod status;
