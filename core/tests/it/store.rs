//! The engine on a store that fails for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use skep::job::{EventKind, JobRecord, JobState, Start};
use skep::prelude::*;
use skep::problem::Code;
use skep::store::{JobQuery, MemoryStore, Position, Segment, Store, StoreError};
use skep::{Config, JobId, JobRequest, Router};

use crate::signal::signal;
use crate::support::{create, end, events, frames, router_on, within};

/// A memory store that can be taken down.
struct Shaky {
    inner: MemoryStore,
    down: AtomicBool,
    /// How often it was asked while it was down.
    refused: AtomicU64,
    /// Whether calls are done although they fail.
    fails_late: AtomicBool,
}

impl Shaky {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(64 << 20, Duration::from_hours(1)),
            down: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            fails_late: AtomicBool::new(false),
        })
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    async fn ask(
        &self,
        call: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        if !self.down.load(Ordering::SeqCst) {
            return call.await;
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        if self.fails_late.load(Ordering::SeqCst) {
            call.await?;
        }
        Err(StoreError::Unavailable("/secret/path is gone".to_owned()))
    }
}

#[async_trait]
impl Store for Shaky {
    async fn accept(&self, job: &JobRecord) -> Result<(), StoreError> {
        self.ask(self.inner.accept(job)).await
    }

    async fn append(&self, id: JobId, segment: Segment) -> Result<(), StoreError> {
        self.ask(self.inner.append(id, segment)).await
    }

    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError> {
        self.ask(self.inner.end(job, rest)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.inner.job(id).await
    }

    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError> {
        self.inner.read(id, position).await
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        self.inner.list(query).await
    }
}

async fn router(store: &Arc<Shaky>) -> Router {
    router_on(store.clone(), Config::default()).await
}

/// Lets everything happen that can: the paused clock only goes on when nothing else does.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_when_the_store_has_its_end_and_not_before() {
    let store = Shaky::new();
    let router = router(&store).await;
    let job = create(&router, "wait_for_go", json!({ "key": "shaky" })).await;
    within(signal("shaky/started").reached(1)).await;
    store.set_down(true);
    signal("shaky/go").fire();
    let mut reader = router.execute_job(job, 0).await.unwrap();
    assert!(matches!(reader.next().await.unwrap().unwrap().kind, EventKind::State { .. }));
    settle().await;
    assert!(reader.next().now_or_never().is_none(), "the end is told before it's stored");
    assert!(!router.job(job).await.unwrap().state.is_end());
    assert!(store.refused.load(Ordering::SeqCst) > 3);

    store.set_down(false);
    assert!(matches!(within(reader.next()).await.unwrap().unwrap().kind, EventKind::End(_)));
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    assert!(matches!(store.job(job).await.unwrap().unwrap().state, JobState::Succeeded(_)));
}

#[tokio::test(start_paused = true)]
async fn emit_waits_while_the_store_is_behind() {
    let store = Shaky::new();
    let router = router(&store).await;
    let mut request = JobRequest::new("emit_many", json!({ "key": "behind-store" }));
    request.start = Start::OnStream;
    let job = router.create_job(request).await.unwrap().id;
    store.set_down(true);
    drop(router.execute_job(job, 0).await.unwrap());
    settle().await;
    let emitted = signal("behind-store/emitted").count();
    assert!((200..400).contains(&emitted), "{emitted} KiB are waiting in memory");
    settle().await;
    assert_eq!(signal("behind-store/emitted").count(), emitted);

    store.set_down(false);
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let events = events(&router, job, 0).await;
    assert!(events.iter().map(|event| event.id).eq(1..=2_002));
}

#[tokio::test(start_paused = true)]
async fn an_emit_that_waits_for_the_store_is_cancelled() {
    let store = Shaky::new();
    let router = router(&store).await;
    let job = create(&router, "emit_many", json!({ "key": "cancelled-store" })).await;
    store.set_down(true);
    settle().await;
    router.cancel_job(job).await.unwrap();
    within(signal("cancelled-store/failed").reached(1)).await;
    store.set_down(false);
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_done_although_it_failed_is_not_done_twice() {
    let store = Shaky::new();
    let router = router(&store).await;
    let job = create(&router, "emit_many", json!({ "key": "twice-store" })).await;
    store.fails_late.store(true, Ordering::SeqCst);
    store.set_down(true);
    settle().await;
    store.set_down(false);
    let live = frames(&router, job).await;
    end(&router, job).await;
    assert!(frames(&router, job).await == live);
    let events = events(&router, job, 0).await;
    assert!(events.iter().map(|event| event.id).eq(1..=2_002));
}

#[tokio::test]
async fn a_job_that_the_store_does_not_accept_is_refused_and_leaves_nothing_behind() {
    let store = Shaky::new();
    let router = router(&store).await;
    store.set_down(true);
    let refused = router.create_job(JobRequest::new("echo", json!({ "value": 1 }))).await;
    let problem = refused.unwrap_err().problem();
    assert!(problem.is(Code::StoreUnavailable));
    assert!(!problem.detail.contains("secret"), "{problem:?}");
    store.set_down(false);
    assert_eq!(router.job_counts().live, 0);
    within(router.call("echo", json!({ "value": 1 }))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_does_not_hold_up_the_shutdown() {
    let store = Shaky::new();
    let router = router(&store).await;
    create(&router, "wait_for_go", json!({ "key": "stays-down" })).await;
    store.set_down(true);
    let shutdown = router.shutdown(Duration::from_secs(1));
    tokio::time::timeout(Duration::from_mins(1), shutdown).await.unwrap();
}

/// Emit 2,000 KiB in as many events; `KEY/emitted` counts them, `KEY/failed` says that one failed.
#[skep::operation]
async fn emit_many(key: String, job: &JobContext) -> Result<()> {
    let text = "x".repeat(1_000);
    for _ in 0..2_000 {
        if let Err(error) = job.emit(&text).await {
            signal(&format!("{key}/failed")).fire();
            return Err(error);
        }
        signal(&format!("{key}/emitted")).fire();
    }
    Ok(())
}
