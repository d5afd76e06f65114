//! Skep is an open router for *operations*: named units of work, written by anyone, that take typed
//! input, stream what they do, and end in one result.
//!
//! This crate is what an author of operations needs, and the engine that runs them. It has no HTTP
//! server: that is `skep-server`, which serves every operation that is linked into it.
//!
//! An operation, whole:
//!
//! ```
//! use skep::prelude::*;
//!
//! /// Greet someone, a word at a time.
//! #[skep::operation]
//! async fn hello(
//!     /// Who to greet.
//!     name: String,
//!     job: &JobContext,
//! ) -> Result<String> {
//!     for word in ["Hello,", &name] {
//!         job.emit(word).await?;
//!     }
//!     Ok(format!("Hello, {name}!"))
//! }
//! # fn main() {}
//! ```
//!
//! The parts:
//!
//! - [`operation`](macro@operation) and [`plugin`](macro@plugin) make operations from functions and
//!   methods, [`data`](macro@data) makes types that inputs and results are built from. Under them
//!   stands the trait [`OperationHandler`].
//! - [`JobContext`] is what a handler holds of its job: it emits, reports progress, learns of
//!   cancellation and calls other operations.
//! - [`plugin`](mod@plugin) tells a plugin's life.
//! - [`interceptor`] is what stands around every execution.
//! - [`placement`] is where operations run, on a server that knows others.
//! - [`http`] is what a plugin serves over HTTP beside operations.
//! - [`Router`] is the engine's one state: it makes jobs, runs them, and reads their logs. It can be
//!   used without a server.
//! - [`metrics`] tells what is counted.
//! - [`store`] is the seam behind which jobs are kept.
//! - [`problem`] has every error code.
//! - `testing` (feature `testing`) is what plugins and stores are tested with.

mod admission;
mod clock;
mod config;
mod error;
pub mod http;
pub mod interceptor;
pub mod job;
pub mod metrics;
pub mod operation;
pub mod placement;
pub mod plugin;
pub mod problem;
mod registry;
pub mod router;
pub mod schema;
pub mod store;
mod suggest;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub mod __private;

#[doc(no_inline)]
pub use async_trait::async_trait;
pub use skep_macros::{command, data, operation, plugin};

pub use self::config::{Config, JobsConfig, OperationsConfig, parse_duration};
pub use self::error::{OperationError, Result};
pub use self::interceptor::{Execution, Interceptor};
pub use self::job::{JobContext, JobId, JobRequest};
pub use self::operation::{OperationHandler, OperationSpec};
pub use self::problem::Problem;
pub use self::router::{Router, RouterError, StartError};
pub use self::suggest::nearest;
#[doc(no_inline)]
pub use futures_util::StreamExt;
#[doc(no_inline)]
pub use serde_json::{Value, json};

/// This crate's version: that of the core which every plugin of a program is built on.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a file of operations imports: `use skep::prelude::*;`.
pub mod prelude {
    pub use crate::error::{OperationError, Result};
    pub use crate::job::{JobContext, LogLevel};
    pub use crate::operation::Input;
    pub use crate::plugin::{Health, PluginContext};
}
