//! The engine on a store that fails for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use skep::job::{EventKind, JobState, Start};
use skep::prelude::*;
use skep::problem::Code;
use skep::store::{MemoryStore, Store};
use skep::testing::{Fault, FaultyStore, StoreCall};
use skep::{Config, JobRequest, Router, RouterError};

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, events, failure, frames, router_on, within};

/// How a store behind [`shaky`] fails, and how often it was asked then.
#[derive(Default)]
struct Shaky {
    down: AtomicBool,
    refused: AtomicU64,
    /// Whether calls are done although they fail.
    fails_late: AtomicBool,
}

impl Shaky {
    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn fault(&self, call: StoreCall) -> Fault {
        let is_logs = matches!(call, StoreCall::Accept | StoreCall::Append | StoreCall::End);
        if !self.down.load(Ordering::SeqCst) || !is_logs {
            return Fault::None;
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        if self.fails_late.load(Ordering::SeqCst) { Fault::FailsLate } else { Fault::Fails }
    }
}

/// A router on a memory store that can be taken down.
async fn shaky() -> (Arc<Shaky>, Arc<dyn Store>, Router) {
    let shaky = Arc::new(Shaky::default());
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(64 << 20));
    let fault = shaky.clone();
    let store = FaultyStore::new(memory.clone(), move |call| fault.fault(call));
    let router = router_on(Arc::new(store), Config::default()).await;
    (shaky, memory, router)
}

/// A router on a disk that fails at one call while it's down.
async fn failing_at(
    failing: StoreCall,
    down: &Arc<AtomicBool>,
    disk: &Disk,
    config: Config,
) -> Router {
    disk.0.reopen();
    let down = down.clone();
    let store = FaultyStore::new(disk.0.clone(), move |call| {
        let fails = call == failing && down.load(Ordering::SeqCst);
        if fails { Fault::Fails } else { Fault::None }
    });
    router_on(Arc::new(store), config).await
}

/// Lets everything happen that can: the paused clock only goes on when nothing else does.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_when_the_store_has_its_end_and_not_before() {
    let (store, kept, router) = shaky().await;
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
    assert!(matches!(kept.job(job).await.unwrap().unwrap().state, JobState::Succeeded(_)));
}

#[tokio::test(start_paused = true)]
async fn emit_waits_while_the_store_is_behind() {
    let (store, _, router) = shaky().await;
    let mut request = JobRequest::new("emit_many", json!({ "key": "behind-store" }));
    request.start = Start::OnStream;
    let job = router.create_job(request).await.unwrap().id;
    store.set_down(true);
    drop(router.execute_job(job, 0).await.unwrap());
    settle().await;
    let emitted = signal("behind-store/emitted").count();
    assert!((4_000..4_200).contains(&emitted), "{emitted} KiB are waiting in memory");
    settle().await;
    assert_eq!(signal("behind-store/emitted").count(), emitted);

    store.set_down(false);
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let events = events(&router, job, 0).await;
    assert!(events.iter().map(|event| event.id).eq(1..=6_002));
}

#[tokio::test(start_paused = true)]
async fn an_emit_that_waits_for_the_store_is_cancelled() {
    let (store, _, router) = shaky().await;
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
    let (store, _, router) = shaky().await;
    let job = create(&router, "emit_many", json!({ "key": "twice-store" })).await;
    store.fails_late.store(true, Ordering::SeqCst);
    store.set_down(true);
    settle().await;
    store.set_down(false);
    let live = frames(&router, job).await;
    end(&router, job).await;
    assert!(frames(&router, job).await == live);
    let events = events(&router, job, 0).await;
    assert!(events.iter().map(|event| event.id).eq(1..=6_002));
}

#[tokio::test]
async fn a_job_that_the_store_does_not_accept_is_refused_and_leaves_nothing_behind() {
    let (store, _, router) = shaky().await;
    store.set_down(true);
    let refused = router.create_job(JobRequest::new("echo", json!({ "value": 1 }))).await;
    let problem = refused.unwrap_err().problem();
    assert!(problem.is(Code::StoreUnavailable));
    assert!(!problem.detail.contains("made to fail"), "{problem:?}");
    store.set_down(false);
    assert_eq!(router.job_counts().live, 0);
    within(router.call("echo", json!({ "value": 1 }))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_does_not_hold_up_the_shutdown() {
    let (store, _, router) = shaky().await;
    create(&router, "wait_for_go", json!({ "key": "stays-down" })).await;
    store.set_down(true);
    let shutdown = router.shutdown(Duration::from_secs(1));
    tokio::time::timeout(Duration::from_mins(1), shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_could_not_begin_before_its_server_stopped_begins_in_the_next_one() {
    let disk = Disk::new();
    let down = Arc::new(AtomicBool::new(false));
    let mut config = Config::default();
    config.jobs.max_running = 1;
    let router = failing_at(StoreCall::Update, &down, &disk, config).await;
    let first = create(&router, "wait_for_go", json!({ "key": "begin" })).await;
    let second = create(&router, "hello", json!({ "name": "Ada" })).await;
    down.store(true, Ordering::SeqCst);
    signal("begin/go").fire();
    end(&router, first).await;
    settle().await;
    down.store(false, Ordering::SeqCst);
    within(router.shutdown(Duration::ZERO)).await;

    let router = disk.router().await;
    assert!(matches!(end(&router, second).await, JobState::Succeeded(_)));
    assert_eq!(router.job(second).await.unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_under_suspicion_waits_until_the_end_of_the_one_before_it_is_stored() {
    let disk = Disk::new();
    let jobs = disk
        .crash_after(async |router| {
            let input = json!({ "attempt": 1, "key": "ends-alone" });
            let jobs = [(); 2].map(|()| create(&router, "hang_up_to", input.clone()));
            let jobs = futures_util::future::join_all(jobs).await;
            within(signal("ends-alone/hangs").reached(2)).await;
            jobs
        })
        .await;
    let down = Arc::new(AtomicBool::new(true));
    let mut config = Config::default();
    config.jobs.max_attempts = 2;
    let router = failing_at(StoreCall::End, &down, &disk, config).await;
    settle().await;
    let states = async || {
        let jobs = futures_util::future::join_all(jobs.iter().map(|job| router.job(*job))).await;
        jobs.into_iter().map(|job| job.unwrap().state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["running", "queued"]);
    down.store(false, Ordering::SeqCst);
    for job in &jobs {
        assert!(matches!(end(&router, *job).await, JobState::Succeeded(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_end_is_decided_but_not_stored_can_not_be_cancelled() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            let job = create(&router, "emit_and_hang", json!({ "key": "decided" })).await;
            within(signal("decided/hangs").reached(1)).await;
            job
        })
        .await;
    let down = Arc::new(AtomicBool::new(true));
    let router = failing_at(StoreCall::End, &down, &disk, Config::default()).await;
    settle().await;
    // A crash now could have it end in another way, so it's not said to have ended either.
    let refused = router.cancel_job(job).await.unwrap_err();
    assert!(matches!(refused, RouterError::Store(_)), "{refused}");
    down.store(false, Ordering::SeqCst);
    assert!(failure(&router, job).await.is(Code::Interrupted));
    let refused = router.cancel_job(job).await.unwrap_err();
    assert!(matches!(refused, RouterError::JobEnded(_)), "{refused}");
}

/// Emit 2,000 KiB in as many events; `KEY/emitted` counts them, `KEY/failed` says that one failed.
#[skep::operation]
async fn emit_many(key: String, job: &JobContext) -> Result<()> {
    let text = "x".repeat(1_000);
    for _ in 0..6_000 {
        if let Err(error) = job.emit(&text).await {
            signal(&format!("{key}/failed")).fire();
            return Err(error);
        }
        signal(&format!("{key}/emitted")).fire();
    }
    Ok(())
}
