//! Operations that call others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skep::job::{Event, EventKind, JobState, Output};
use skep::plugin::{Linked, Package, Plugin, PluginRegistration, Started};
use skep::prelude::*;
use skep::problem::Code;
use skep::store::{JobQuery, MemoryStore};
use skep::{Config, JobRequest, OperationHandler, OperationSpec, Router};

use crate::signal::signal;
use crate::support::{assert_served, create, end, events, failure, router, router_with, within};

#[tokio::test]
async fn a_call_gives_the_result_and_makes_a_child_job() {
    let router = router().await;
    let job =
        create(&router, "relay", json!({ "operation_name": "hello", "input": { "name": "Ada" } }))
            .await;
    let JobState::Succeeded(result) = end(&router, job).await else { panic!("it succeeds") };
    assert_eq!(result.get(), "\"Hello, Ada!\"");
    let mut query = JobQuery::newest(10);
    query.operation = Some("hello".to_owned());
    let children = router.jobs(&query).await.unwrap();
    assert_eq!(children[0].parent, Some(job));
}

#[tokio::test]
async fn what_is_relayed_is_told_as_the_jobs_own() {
    let router = router().await;
    for (quiet, expected) in [(false, 5), (true, 4)] {
        let job = create(&router, "tell_again", json!({ "quiet": quiet })).await;
        let JobState::Succeeded(result) = end(&router, job).await else { panic!("it succeeds") };
        assert_eq!(result.get(), "7");
        let told = events(&router, job, 0).await;
        let told: Vec<_> = told.iter().map(|event| &event.kind).collect();
        assert_eq!(told.len(), expected, "{told:?}");
        let has_output = told.iter().any(|kind| **kind == EventKind::Output(json!("out")));
        assert_eq!(has_output, !quiet, "{told:?}");
        assert!(
            told.iter().any(|kind| matches!(kind, EventKind::Progress(told) if told.done == 1))
        );
        assert!(
            told.iter()
                .any(|kind| matches!(kind, EventKind::Log(line) if line.message == "a line"))
        );
    }
}

#[tokio::test]
async fn a_called_jobs_problem_is_the_callers_error() {
    let router = router().await;
    let cases = [
        (json!({ "operation_name": "nothing" }), Code::UnknownOperation),
        (json!({ "operation_name": "hello", "input": { "nam": 1 } }), Code::InvalidInput),
        (json!({ "operation_name": "panic_at_once" }), Code::Panic),
    ];
    for (input, code) in cases {
        let job = create(&router, "relay", input).await;
        assert!(failure(&router, job).await.is(code));
    }
}

#[tokio::test]
async fn calls_in_a_circle_are_refused() {
    let router = router().await;
    for operation in ["call_self", "cycle_a"] {
        let problem = within(router.call(operation, json!({}))).await.unwrap_err();
        assert!(problem.is(Code::CallCycle), "{operation}: {problem:?}");
        assert_served(&router).await;
    }
    let problem = router.call("cycle_a", json!({})).await.unwrap_err();
    assert!(problem.detail.ends_with("cycle_a -> cycle_b -> cycle_c -> cycle_a"), "{problem:?}");
}

#[tokio::test]
async fn calls_are_nested_sixteen_deep_and_no_deeper() {
    let mut linked = Linked::default();
    linked.plugins.push(&NEST);
    let store = MemoryStore::new(1 << 20);
    let router = Router::start(Config::default(), linked, Arc::new(store)).await.unwrap();
    let deepest = within(router.call("nest_15", json!({}))).await.unwrap();
    assert_eq!(deepest, "the bottom");
    let problem = within(router.call("nest_16", json!({}))).await.unwrap_err();
    assert!(problem.is(Code::CallDepth), "{problem:?}");
}

#[tokio::test]
async fn a_called_job_runs_in_its_callers_place() {
    let router = router_with(|config| {
        config.jobs.max_running = 1;
        config.jobs.max_queued = 0;
    })
    .await;
    let input = json!({ "operation_name": "echo", "input": { "value": 1 } });
    assert_eq!(within(router.call("relay", input)).await.unwrap(), 1);
}

#[tokio::test]
async fn cancellation_passes_down() {
    let router = router().await;
    let input = json!({ "operation_name": "wait_for_go", "input": { "key": "down" } });
    let job = create(&router, "relay", input).await;
    within(signal("down/started").reached(1)).await;
    router.cancel_job(job).await.unwrap();
    within(signal("down/stopped").reached(1)).await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    let child = newest(&router, "wait_for_go").await;
    assert!(matches!(end(&router, child).await, JobState::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_passes_down() {
    let router = router().await;
    // Several times: caller and called job run out of time at once, and either may be the first.
    for _ in 0..20 {
        let input = json!({ "operation_name": "wait_for_go", "input": { "key": "late" } });
        let mut request = JobRequest::new("relay", input);
        request.timeout = Some(Duration::from_secs(10));
        let job = router.create_job(request).await.unwrap().id;
        let early = router.wait(job, Duration::from_secs(9)).await.unwrap();
        assert!(!early.state.is_end());
        assert!(failure(&router, job).await.is(Code::Timeout));
        let child = newest(&router, "wait_for_go").await;
        assert!(failure(&router, child).await.is(Code::Timeout));
    }
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_cancels_its_job() {
    let router = router().await;
    let job = create(&router, "call_and_drop", json!({})).await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let child = newest(&router, "wait_for_go").await;
    assert!(matches!(end(&router, child).await, JobState::Cancelled));
    assert_eq!(signal("dropped/stopped").count(), 1);
}

#[tokio::test]
async fn a_router_call_whose_future_is_dropped_cancels_its_job() {
    let router = router().await;
    {
        let call = router.call("wait_for_go", json!({ "key": "outer" }));
        tokio::select! {
            result = call => panic!("{result:?}"),
            () = async { signal("outer/started").reached(1).await } => {}
        }
    }
    let job = newest(&router, "wait_for_go").await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

#[tokio::test]
async fn a_called_jobs_events_can_be_read() {
    let router = router().await;
    let kinds = within(router.call("stream_hello", json!({}))).await.unwrap();
    assert_eq!(kinds, 4);
}

#[tokio::test]
async fn hidden_operations_are_for_calls_only() {
    let router = router().await;
    let mut request = JobRequest::new("secret", json!({}));
    request.caller = skep::job::Caller::Client(None);
    let refused = router.create_job(request).await.unwrap_err().problem();
    assert!(refused.is(Code::UnknownOperation));
    assert!(refused.extensions.is_empty(), "{refused:?}");
    assert!(router.operation("secret").is_err());
    assert!(router.operations().iter().all(|spec| spec.name != "secret"));
    let input = json!({ "operation_name": "secret" });
    assert_eq!(within(router.call("relay", input)).await.unwrap(), "found");
}

#[tokio::test]
async fn a_job_that_has_ended_calls_nothing_any_more() {
    let router = router().await;
    within(router.call("leave_a_caller_behind", json!({}))).await.unwrap();
    signal("behind/go").fire();
    within(signal("behind/refused").reached(1)).await;
}

async fn newest(router: &Router, operation: &str) -> skep::JobId {
    let mut query = JobQuery::newest(1);
    query.operation = Some(operation.to_owned());
    router.jobs(&query).await.unwrap()[0].id
}

/// Call another operation, and return its result.
#[skep::operation]
async fn relay(
    operation_name: String,
    #[serde(default)] input: serde_json::Map<String, serde_json::Value>,
    job: &JobContext,
) -> Result<serde_json::Value> {
    job.call(&operation_name, input).await
}

/// Tell of everything, and return a number.
#[skep::operation]
async fn tell_all(job: &JobContext) -> Result<u32> {
    job.emit("out").await?;
    job.progress(1, 2, "steps").await?;
    job.log(LogLevel::Info, "a line").await?;
    Ok(7)
}

/// Have `tell_all` do it.
#[skep::operation]
async fn tell_again(quiet: bool, job: &JobContext) -> Result<u32> {
    let output = if quiet { Output::Dropped } else { Output::Relayed };
    job.relay("tell_all", json!({}), output).await
}

/// Call oneself.
#[skep::operation]
async fn call_self(job: &JobContext) -> Result<()> {
    job.call("call_self", json!({})).await
}

/// Call `cycle_b`.
#[skep::operation]
async fn cycle_a(job: &JobContext) -> Result<()> {
    job.call("cycle_b", json!({})).await
}

/// Call `cycle_c`.
#[skep::operation]
async fn cycle_b(job: &JobContext) -> Result<()> {
    job.call("cycle_c", json!({})).await
}

/// Call `cycle_a`.
#[skep::operation]
async fn cycle_c(job: &JobContext) -> Result<()> {
    job.call("cycle_a", json!({})).await
}

/// Drop the future of a call when its job runs.
#[skep::operation]
async fn call_and_drop(job: &JobContext) -> Result<()> {
    tokio::select! {
        result = job.call("wait_for_go", json!({ "key": "dropped" })) => result,
        () = async { signal("dropped/started").reached(1).await } => Ok(()),
    }
}

/// Count the events of a called job.
#[skep::operation]
async fn stream_hello(job: &JobContext) -> Result<usize> {
    let events = job.stream("hello", json!({ "name": "Ada" })).await?;
    let events: Vec<Event> = events.try_collect().await?;
    Ok(events.len())
}

/// For other operations only.
#[skep::operation(hidden)]
async fn secret() -> Result<String> {
    Ok("found".to_owned())
}

/// End, and leave a task that calls something later.
#[skep::operation]
async fn leave_a_caller_behind(job: &JobContext) -> Result<()> {
    let job = job.clone();
    tokio::spawn(async move {
        signal("behind/go").reached(1).await;
        let called: Result<Value> = job.call("echo", json!({ "value": 1 })).await;
        if called.unwrap_err().problem().is(Code::Cancelled) {
            signal("behind/refused").fire();
        }
    });
    Ok(())
}

/// `nest_0` to `nest_16`, each of which calls the one before it.
static NEST: PluginRegistration = PluginRegistration {
    name: "nest",
    summary: "",
    package: Package::new("nest", "1.0.0"),
    after: &[],
    config_schema: || json!({ "type": "object" }),
    specs: Vec::new,
    start: |_| {
        Box::pin(async {
            let nest =
                |depth| Arc::new(Nest(depth, OperationSpec::new(format!("nest_{depth}"), ""))) as _;
            Ok(Started::new(Arc::new(NestPlugin), (0..=16).map(nest).collect()))
        })
    },
};

struct NestPlugin;

impl Plugin for NestPlugin {}

struct Nest(u32, OperationSpec);

#[async_trait]
impl OperationHandler for Nest {
    fn spec(&self) -> &OperationSpec {
        &self.1
    }

    async fn handle(&self, _: Value, job: &JobContext) -> Result<Value> {
        match self.0.checked_sub(1) {
            Some(below) => job.call(&format!("nest_{below}"), json!({})).await,
            None => Ok("the bottom".into()),
        }
    }
}
