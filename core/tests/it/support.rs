//! Operations for the tests, and a router that serves them.

use std::sync::Arc;
use std::time::Duration;

use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, Router};

/// A router with every operation of this test binary and short patience.
pub(crate) async fn router() -> Router {
    router_with(|_| {}).await
}

/// The same, after `change` to its configuration.
pub(crate) async fn router_with(change: impl FnOnce(&mut Config)) -> Router {
    let mut config = Config::default();
    config.jobs.cancel_grace = Duration::from_millis(200);
    change(&mut config);
    let store = MemoryStore::new(config.jobs.memory.as_u64(), config.jobs.retention);
    Router::start(config, Linked::all(), Arc::new(store)).await.expect("the router starts")
}

/// Greet someone, a word at a time.
#[skep::operation]
async fn hello(
    /// Who to greet.
    name: String,
    job: &JobContext,
) -> Result<String> {
    for word in ["Hello,", &name] {
        job.emit(word).await?;
    }
    Ok(format!("Hello, {name}!"))
}
