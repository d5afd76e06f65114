//! A router for the tests, what they ask of it, and the operations that most of them run.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skep::job::{Event, JobState};
use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::{MemoryStore, Store};
use skep::testing::{Fault, FaultyStore, StoreCall};
use skep::{Config, JobId, JobRequest, Problem, Router};

use crate::signal::{FireOnDrop, signal};

/// A router with every operation of this test binary and short patience.
pub(crate) async fn router() -> Router {
    router_with(|_| {}).await
}

/// The same, after `change` to its configuration.
pub(crate) async fn router_with(change: impl FnOnce(&mut Config)) -> Router {
    let mut config = Config::default();
    config.jobs.cancel_grace = Duration::from_millis(200);
    change(&mut config);
    let store = MemoryStore::new(config.jobs.memory.as_u64());
    router_on(Arc::new(store), config).await
}

/// The same on a store that doesn't accept a job at once.
pub(crate) async fn router_that_accepts_later() -> Router {
    let config = Config::default();
    let store = Arc::new(MemoryStore::new(config.jobs.memory.as_u64()));
    let store = FaultyStore::new(store, |call| match call {
        StoreCall::Accept => Fault::Delayed,
        _ => Fault::None,
    });
    router_on(Arc::new(store), config).await
}

pub(crate) async fn router_on(store: Arc<dyn Store>, config: Config) -> Router {
    Router::start(config, Linked::all(), store).await.expect("the router starts")
}

/// Bounds a wait, so that a fault fails a test and doesn't hang it.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens in time")
}

pub(crate) async fn create(router: &Router, operation: &str, input: Value) -> JobId {
    router.create_job(JobRequest::new(operation, input)).await.expect("the job is accepted").id
}

/// How a job ends.
pub(crate) async fn end(router: &Router, id: JobId) -> JobState {
    let job = router.wait(id, Duration::from_mins(1)).await.expect("the job is known");
    assert!(job.state.is_end(), "the job ends in time, but is {}", job.state.as_str());
    job.state
}

/// The problem of a job that fails.
pub(crate) async fn failure(router: &Router, id: JobId) -> Problem {
    match end(router, id).await {
        JobState::Failed(problem) => problem,
        state => panic!("the job is {}", state.as_str()),
    }
}

/// The events of a job after event `after`, to its end.
pub(crate) async fn events(router: &Router, id: JobId, after: u64) -> Vec<Event> {
    let events = router.execute_job(id, after).await.expect("the job is known");
    within(events.try_collect()).await.expect("the log is read")
}

/// A job's whole log, as readers are sent it.
pub(crate) async fn frames(router: &Router, id: JobId) -> Vec<u8> {
    let mut reader = router.execute_job(id, 0).await.expect("the job is known").into_frames();
    let mut log = Vec::new();
    while let Some(bytes) = within(reader.next()).await.expect("the log is read") {
        log.extend_from_slice(&bytes);
    }
    log
}

/// A job beside what the test is about is served, and promptly. Several tries, because a machine
/// may be busy for a moment; a runtime that is stuck serves none of them.
pub(crate) async fn assert_served(router: &Router) {
    for _ in 0..20 {
        let call = router.call("echo", json!({ "value": 1 }));
        if let Ok(result) = tokio::time::timeout(Duration::from_millis(100), call).await {
            assert_eq!(result.unwrap(), 1);
            return;
        }
    }
    panic!("an operation is not served within 100 ms");
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

/// Emit a value `count` times, and return the count.
#[skep::operation(read_only, idempotent)]
async fn echo(value: serde_json::Value, #[default(1)] count: u32, job: &JobContext) -> Result<u32> {
    for _ in 0..count {
        job.emit(&value).await?;
    }
    Ok(count)
}

/// Fire `KEY/started`, wait for `KEY/go` or the job's cancellation, fire `KEY/stopped`.
#[skep::operation]
async fn wait_for_go(key: String, job: &JobContext) -> Result<()> {
    let _stopped = FireOnDrop(signal(&format!("{key}/stopped")));
    signal(&format!("{key}/started")).fire();
    tokio::select! {
        () = async { signal(&format!("{key}/go")).reached(1).await } => Ok(()),
        () = job.cancelled() => Err(OperationError::message("stopped")),
    }
}
