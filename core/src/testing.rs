//! What plugins and stores are tested with: the feature `testing`, for `[dev-dependencies]`.
//!
//! A test of an operation, whole, in a crate that depends on `skep` alone:
//!
//! ```standalone_crate
//! use skep::json;
//! use skep::prelude::*;
//! use skep::testing::TestServer;
//!
//! /// Greet someone, a word at a time.
//! #[skep::operation]
//! async fn hello(name: String, job: &JobContext) -> Result<String> {
//!     for word in ["Hello,", &name] {
//!         job.emit(word).await?;
//!     }
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! // #[test]
//! fn it_greets_a_word_at_a_time() {
//!     let server = TestServer::start();
//!     let job = server.run("hello", json!({ "name": "Ada" }));
//!     assert_eq!(job.outputs(), ["Hello,", "Ada"]);
//!     assert_eq!(job.result(), "Hello, Ada!");
//! }
//! # it_greets_a_word_at_a_time();
//! ```
//!
//! [`TestServer`] runs any set of plugins without HTTP: it starts in about a millisecond, its time
//! is paused, it can be killed and come back, its store can fail, and operations can be faked.
//! [`TestServer::assert_specs`] holds the public schemas against a file, so that they don't change by
//! accident. [`store_conformance`] is the suite that every store passes.

mod fake;
mod faults;
mod hold;
mod job;
mod server;
mod specs;
pub mod store;

pub use self::faults::{Fault, FaultyStore, StoreCall};
pub(crate) use self::hold::Hold;
pub use self::job::TestJob;
pub use self::server::{TestServer, TestServerBuilder};
#[doc(inline)]
pub use crate::__store_conformance as store_conformance;
