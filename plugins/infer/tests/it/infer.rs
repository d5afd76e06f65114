//! What `infer` does and which worker it asks.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use skep::job::{Event, EventKind};
use skep::plugin::Linked;
use skep::{JobRequest, Router};

use crate::workers::{router, router_of};

async fn events(router: &Router, input: Value) -> Vec<EventKind> {
    let job = router.create_job(JobRequest::new("infer", input)).await.unwrap();
    let events: Vec<Event> =
        router.execute_job(job.id, 0).await.unwrap().try_collect().await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

fn output(events: &[EventKind]) -> Vec<&Value> {
    let values = events.iter().filter_map(|kind| match kind {
        EventKind::Output(value) => Some(value),
        _ => None,
    });
    values.collect()
}

/// Which worker answers.
async fn asked(router: &Router, model: &str) -> Value {
    let input = json!({ "model": model, "prompt": "Hi" });
    router.call("infer", input).await.unwrap()["worker_id"].clone()
}

#[tokio::test]
async fn the_text_is_emitted_as_it_comes() {
    let events = events(&router().await, json!({ "model": "m", "prompt": "Hi" })).await;
    assert_eq!(output(&events), [&json!({ "text": "one" }), &json!({ "text": " two" })]);
}

#[tokio::test]
async fn without_stream_only_the_result_has_the_text() {
    let input = json!({ "model": "m", "prompt": "Hi", "stream": false });
    let events = events(&router().await, input).await;
    assert!(output(&events).is_empty());
    assert!(matches!(events.last(), Some(EventKind::End(_))));
}

#[tokio::test]
async fn the_load_and_the_prompt_are_shown_as_progress() {
    let events = events(&router().await, json!({ "model": "m", "prompt": "Hi" })).await;
    let told = |done, unit: &str| {
        events.iter().any(|kind| match kind {
            EventKind::Progress(progress) => progress.done == done && progress.unit == unit,
            _ => false,
        })
    };
    assert!(told(0, "bytes") && told(100, "bytes") && told(9, "tokens"), "{events:?}");
}

#[tokio::test]
async fn the_result_says_who_answered_and_what_it_took() {
    let router = router().await;
    let input = json!({ "model": "m", "prompt": "Hi" });
    let mut result = router.call("infer", input).await.unwrap();
    result["timings"]["load_ms"] = 0.into();
    result["text"] = "".into();
    let expected = json!({
        "text": "", "finish_reason": "length", "model": "m", "worker_id": "w-0",
        "usage": { "prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 0 },
        "timings": {
            "load_ms": 0, "prompt_ms": 5, "generation_ms": 50, "tokens_per_second": 40.0,
        },
    });
    assert_eq!(result, expected);
}

#[tokio::test]
async fn a_worker_that_has_the_model_is_asked_again() {
    let router = router().await;
    assert_eq!(asked(&router, "m").await, "w-0");
    assert_eq!(asked(&router, "other").await, "w-1");
    assert_eq!(asked(&router, "m").await, "w-0");
}

#[tokio::test]
async fn of_two_workers_the_one_with_fewer_jobs_is_asked() {
    let router = router().await;
    for _ in 0..2 {
        let spawn = json!({ "model": "m", "worker": "cpu" });
        router.call("worker_spawn", spawn).await.unwrap();
    }
    router.call("occupy", json!({ "id": "w-0" })).await.unwrap();
    assert_eq!(asked(&router, "m").await, "w-1");
}

#[tokio::test]
async fn a_named_worker_is_asked_if_it_has_the_model() {
    let router = router().await;
    let spawn = json!({ "model": "m", "worker": "cpu" });
    router.call("worker_spawn", spawn.clone()).await.unwrap();
    router.call("worker_spawn", spawn).await.unwrap();
    let ask = |model: &str, id: &str| {
        let input = json!({ "model": model, "prompt": "Hi", "worker_id": id });
        let router = router.clone();
        async move { router.call("infer", input).await }
    };
    assert_eq!(ask("m", "w-1").await.unwrap()["worker_id"], "w-1");
    assert_eq!(ask("other", "w-1").await.unwrap_err().code, "wrong-model");
    assert_eq!(ask("m", "w-9").await.unwrap_err().code, "unknown-worker");
}

#[tokio::test]
async fn an_unknown_model_is_the_models_own_problem() {
    let input = json!({ "model": "missing", "prompt": "Hi" });
    let problem = router().await.call("infer", input).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("unknown-model", 404));
}

#[tokio::test]
async fn without_workers_the_missing_plugin_is_named() {
    let mut linked = Linked::all();
    linked.plugins.retain(|plugin| plugin.name != "played-workers");
    let router = router_of(linked).await;
    let input = json!({ "model": "m", "prompt": "Hi" });
    let problem = router.call("infer", input).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("missing-plugin", 501));
    assert!(problem.detail.contains("skep-worker"), "{problem}");
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_loads_holds_up_no_other() {
    let router = router().await;
    let input = json!({ "model": "slow", "prompt": "Hi" });
    let job = router.create_job(JobRequest::new("infer", input.clone())).await.unwrap();
    let mut events = router.execute_job(job.id, 0).await.unwrap();
    while let Some(event) = events.next().await {
        if matches!(event.unwrap().kind, EventKind::Progress(_)) {
            break;
        }
    }
    let second = router.create_job(JobRequest::new("infer", input)).await.unwrap();
    for id in [job.id, second.id] {
        router.cancel_job(id).await.unwrap();
        let job = router.wait(id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(job.state.as_str(), "cancelled");
    }
}
