//! Jobs that an interceptor has another operation do: what follows an attempt is said by that one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use skep::job::JobState;
use skep::plugin::{Linked, Package, Plugin, PluginContext, PluginRegistration, Started};
use skep::prelude::*;
use skep::problem::Code;
use skep::store::Store;
use skep::{Execution, Interceptor, JobRequest, Value, json};

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, failure, within};

/// Hang: what other operations are asked to do in its place.
#[skep::operation]
async fn hang_alone(key: String) -> Result<u32> {
    signal(&format!("{key}/alone")).fire();
    std::future::pending().await
}

/// Do as `how` says, in an attempt that isn't the last.
#[skep::operation(hidden, idempotent, retry(attempts = 3, backoff = "1ms"))]
async fn do_instead(key: String, how: String, job: &JobContext) -> Result<u32> {
    job.checkpoint(&key).await?;
    signal(&format!("{key}/instead")).fire();
    match (how.as_str(), job.attempt()) {
        ("hang", 1) => {
            job.cancelled().await;
            if job.is_handed_over() {
                signal(&format!("{key}/handed over")).fire();
            }
            std::future::pending().await
        }
        ("dawdle", _) => {
            job.cancelled().await;
            Ok(0)
        }
        ("fail", 1) => Err(OperationError::new("lost", "not yet")),
        ("give up", 1) => Err(OperationError::new("lost", "for good").permanent()),
        (_, attempt) => Ok(attempt),
    }
}

/// Reroutes what has a `how`, up to the attempt `up_to`.
struct Elsewhere;

impl Plugin for Elsewhere {}

#[skep::async_trait]
impl Interceptor for Elsewhere {
    async fn before(&self, execution: &mut Execution) -> Result<()> {
        let key: Value = execution.input()["key"].clone();
        let Some((key, how)) = key.as_str().and_then(|key| key.split_once('/')) else {
            return Ok(());
        };
        let input = json!({ "key": key, "how": how });
        execution.reroute("do_instead", input)?;
        Ok(())
    }

    async fn cut_off(&self, job: &JobContext) {
        if let Ok(Some(key)) = job.restored::<String>().await {
            signal(&format!("{key}/cut off")).fire();
        }
    }
}

static ELSEWHERE: PluginRegistration = PluginRegistration {
    name: "elsewhere",
    summary: "",
    package: Package::new("elsewhere", "1.0.0"),
    after: &[],
    config_schema: || json!({}),
    specs: Vec::new,
    start,
};

fn start(_: PluginContext<Value>) -> BoxFuture<'static, Result<Started>> {
    let plugin = Arc::new(Elsewhere);
    let started = Started::new(plugin.clone(), Vec::new()).with_interceptor(plugin);
    Box::pin(std::future::ready(Ok(started)))
}

fn linked() -> Linked {
    let mut linked = Linked::all();
    linked.plugins = vec![&ELSEWHERE];
    linked
}

#[tokio::test]
async fn after_a_crash_it_goes_on_though_its_own_operation_may_not() {
    let disk = Disk::new();
    let job = disk
        .crash_of(linked, async |router| {
            let job = create(&router, "hang_alone", json!({ "key": "crash/hang" })).await;
            within(signal("crash/instead").reached(1)).await;
            job
        })
        .await;
    let record = disk.0.job(job).await.unwrap().unwrap();
    assert_eq!(record.rerouted_to.as_deref(), Some("do_instead"));
    let router = disk.router_of(linked(), |_| {}).await;
    let JobState::Succeeded(result) = end(&router, job).await else { panic!("it goes on") };
    assert_eq!(result.get(), "2");
    assert_eq!(&*router.job(job).await.unwrap().operation, "hang_alone");
}

#[tokio::test]
async fn one_that_ends_with_its_server_is_told_of_with_what_it_has_kept() {
    let disk = Disk::new();
    let [attached, goes_on] = disk
        .crash_of(linked, async |router| {
            let mut attached = JobRequest::new("hang_alone", json!({ "key": "attached/hang" }));
            attached.attached = true;
            let attached = router.create_job(attached).await.unwrap().id;
            let goes_on = create(&router, "hang_alone", json!({ "key": "kept/hang" })).await;
            for key in ["attached", "kept"] {
                within(signal(&format!("{key}/instead")).reached(1)).await;
            }
            [attached, goes_on]
        })
        .await;
    let router = disk.router_of(linked(), |_| {}).await;
    assert!(matches!(end(&router, attached).await, JobState::Cancelled));
    assert_eq!(signal("attached/cut off").count(), 1);
    assert!(matches!(end(&router, goes_on).await, JobState::Succeeded(_)));
    assert_eq!(signal("kept/cut off").count(), 0);
}

#[tokio::test]
async fn a_job_that_is_not_rerouted_stays_what_it_was() {
    let disk = Disk::new();
    let job = disk
        .crash_of(linked, async |router| {
            let job = create(&router, "hang_alone", json!({ "key": "stays" })).await;
            within(signal("stays/alone").reached(1)).await;
            job
        })
        .await;
    let router = disk.router_of(linked(), |_| {}).await;
    assert!(failure(&router, job).await.is(Code::Interrupted));
}

#[tokio::test]
async fn a_graceful_stop_hands_it_over_and_a_cancellation_does_not() {
    let disk = Disk::new();
    let router = disk.router_of(linked(), |_| {}).await;
    let job = create(&router, "hang_alone", json!({ "key": "stop/hang" })).await;
    let cancelled = create(&router, "hang_alone", json!({ "key": "cancel/hang" })).await;
    within(signal("stop/instead").reached(1)).await;
    within(signal("cancel/instead").reached(1)).await;
    router.cancel_job(cancelled).await.unwrap();
    assert!(matches!(end(&router, cancelled).await, JobState::Cancelled));
    within(router.shutdown(Duration::ZERO)).await;
    assert_eq!(signal("stop/handed over").count(), 1);
    assert_eq!(signal("cancel/handed over").count(), 0);
    let router = disk.router_of(linked(), |_| {}).await;
    let JobState::Succeeded(result) = end(&router, job).await else { panic!("it goes on") };
    assert_eq!(result.get(), "2");
}

#[tokio::test]
async fn one_that_is_handed_over_and_then_cancelled_is_told_of_too() {
    let disk = Disk::new();
    let router = disk.router_of(linked(), |_| {}).await;
    let job = create(&router, "hang_alone", json!({ "key": "between/hang" })).await;
    within(signal("between/instead").reached(1)).await;
    within(router.shutdown(Duration::ZERO)).await;
    disk.0.reopen();
    disk.0.cancel(job).await.unwrap();
    let router = disk.router_of(linked(), |_| {}).await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    assert_eq!(signal("between/cut off").count(), 1);
}

#[tokio::test]
async fn one_that_is_cancelled_while_it_waits_to_go_on_is_told_of_too() {
    let disk = Disk::new();
    let jobs = disk
        .crash_of(linked, async |router| {
            let first = create(&router, "hang_alone", json!({ "key": "first/dawdle" })).await;
            let second = create(&router, "hang_alone", json!({ "key": "second/hang" })).await;
            for key in ["first", "second"] {
                within(signal(&format!("{key}/instead")).reached(1)).await;
            }
            [first, second]
        })
        .await;
    // The first one has the only place, and keeps it.
    let router = disk.router_of(linked(), |config| config.jobs.max_running = 1).await;
    within(signal("first/instead").reached(2)).await;
    router.cancel_job(jobs[1]).await.unwrap();
    assert!(matches!(end(&router, jobs[1]).await, JobState::Cancelled));
    assert_eq!(signal("second/cut off").count(), 1);
    router.cancel_job(jobs[0]).await.unwrap();
    assert!(matches!(end(&router, jobs[0]).await, JobState::Cancelled));
    assert_eq!(signal("first/cut off").count(), 0, "its handler was told");
}

#[tokio::test]
async fn it_is_tried_again_as_the_other_operation_is_unless_that_is_of_no_use() {
    let disk = Disk::new();
    let router = disk.router_of(linked(), |_| {}).await;
    let job = create(&router, "hang_alone", json!({ "key": "retry/fail" })).await;
    let JobState::Succeeded(result) = end(&router, job).await else { panic!("it goes on") };
    assert_eq!(result.get(), "2");
    // A time limit is that of the job's own operation, which isn't tried again.
    let input = json!({ "key": "retry/dawdle" });
    let mut request = JobRequest::new("hang_alone", input);
    request.timeout = Some(Duration::from_millis(10));
    let job = router.create_job(request).await.unwrap().id;
    assert!(failure(&router, job).await.is(Code::Timeout));
    assert_eq!(router.job(job).await.unwrap().attempt, 1);
    let job = create(&router, "hang_alone", json!({ "key": "retry/give up" })).await;
    assert_eq!(failure(&router, job).await.code, "lost");
    assert_eq!(router.job(job).await.unwrap().attempt, 1);
}
