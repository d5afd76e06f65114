//! Real answers of a real model.

use serde_json::{Value, json};
use skep::job::EventKind;

use crate::support::{Server, eventually};

fn story(max_tokens: u32) -> Value {
    json!({
        "model": "smollm2", "prompt": "Once upon a time", "max_tokens": max_tokens,
        "temperature": 0, "seed": 1,
    })
}

#[tokio::test]
async fn a_question_is_answered_token_by_token() {
    let server = Server::real().await;
    // By the system message of its own template the model answers something else, as llama.cpp has
    // it say, too.
    let messages = json!([
        { "role": "system", "content": "You are a helpful assistant." },
        { "role": "user", "content": "What is the capital of France?" },
    ]);
    let input = json!({
        "model": "smollm2", "messages": messages, "max_tokens": 30, "temperature": 0, "seed": 1,
    });
    let mut job = server.job("infer", input.clone()).await;
    job.rest().await;
    let pieces: Vec<&str> = job
        .seen
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Output(token) => token["text"].as_str(),
            _ => None,
        })
        .collect();
    let end = server.end(&job).await;
    let result: Value = serde_json::from_str(end.state.result().unwrap().get()).unwrap();
    assert!(pieces.len() > 3, "{pieces:?}");
    assert_eq!(pieces.concat(), result["text"]);
    assert!(pieces.concat().contains("Paris"), "{pieces:?}");
    assert_eq!(result["finish_reason"], "stop");
    assert!(result["usage"]["prompt_tokens"].as_u64().unwrap() > 7);
    assert!(result["timings"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(result["timings"]["load_ms"].as_u64().unwrap() > 0);

    // The same again, by the same worker, whose cache is warm.
    let again = server.call("infer", input).await.unwrap();
    assert_eq!((&again["text"], &again["worker_id"]), (&result["text"], &result["worker_id"]));
    assert_eq!(again["timings"]["load_ms"], 0);
    assert!(again["usage"]["cached_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn jobs_that_come_at_once_start_one_worker_and_are_all_answered() {
    let server = Server::real().await;
    let (first, second, third) = tokio::join!(
        server.call("infer", story(4)),
        server.call("infer", story(4)),
        server.call("infer", story(4)),
    );
    let (first, second, third) = (first.unwrap(), second.unwrap(), third.unwrap());
    assert_eq!(first["finish_reason"], "length");
    assert_eq!((&first["text"], &first["text"]), (&second["text"], &third["text"]));
    assert_eq!(server.workers().await.len(), 1);
}

#[tokio::test]
async fn a_cancelled_answer_frees_the_worker_for_the_next() {
    let server = Server::real_with(json!({ "slots": 1 })).await;
    let mut job = server.job("infer", story(1500)).await;
    job.output().await;
    server.router.cancel_job(job.id).await.unwrap();
    assert_eq!(server.end(&job).await.state.as_str(), "cancelled");
    // It would take a minute if the first one went on.
    let next =
        tokio::time::timeout(std::time::Duration::from_secs(20), server.call("infer", story(2)));
    next.await.expect("the worker is free").unwrap();
    assert_eq!(server.workers().await.len(), 1);
}

#[tokio::test]
async fn a_job_can_be_cancelled_while_it_waits_for_the_worker() {
    let server = Server::real_with(json!({ "slots": 1 })).await;
    let mut first = server.job("infer", story(1500)).await;
    first.output().await;
    let second = server.job("infer", story(2)).await;
    eventually("the second one waits", async || {
        let worker = server.workers().await.pop()?;
        (worker["jobs"] == 2).then_some(())
    })
    .await;
    server.router.cancel_job(second.id).await.unwrap();
    assert_eq!(server.end(&second).await.state.as_str(), "cancelled");
    first.output().await;
    server.router.cancel_job(first.id).await.unwrap();
    assert_eq!(server.end(&first).await.state.as_str(), "cancelled");
}

#[tokio::test]
async fn a_worker_works_for_as_many_jobs_at_once_as_it_has_slots() {
    let server = Server::real_with(json!({ "slots": 2 })).await;
    let worker = server.call("worker_spawn", json!({ "model": "smollm2" })).await.unwrap();
    assert_eq!(worker["slots"], 2);
    two_at_once(&server).await;
}

#[tokio::test]
async fn with_little_memory_a_worker_has_fewer_slots_and_without_a_context_it_is_not_started() {
    // What the model's 98 MB take, and each slot's context of 4096 tokens.
    let (weights, slot) = (137_707_404_u64, 30 * 3 * (64 + 64) * 4096 * 4_u64);
    let spawn = json!({ "model": "smollm2" });
    let server = Server::real_with(json!({ "max_memory": weights + 3 * slot - 1 })).await;
    let worker = server.call("worker_spawn", spawn.clone()).await.unwrap();
    assert_eq!(worker["slots"], 2);
    let logs = server.job("worker_logs", json!({ "id": worker["id"] })).await;
    assert_eq!(server.result(&logs).await, json!({ "lines": 1 }));
    let server = Server::real_with(json!({ "max_memory": weights + slot - 1 })).await;
    let problem = server.call("worker_spawn", spawn).await.unwrap_err();
    assert_eq!(problem.code, "out-of-memory", "{problem}");
    assert_eq!(problem.extensions["needed"], weights + slot);
}

/// Sees that a worker with two slots works for two jobs at once, and for the third when one of these has
/// ended.
pub(crate) async fn two_at_once(server: &Server) {
    let mut jobs = [server.job("infer", story(1500)).await, server.job("infer", story(1500)).await];
    // Both get tokens though neither has ended.
    for job in &mut jobs {
        job.output().await;
    }
    let mut third = server.job("infer", story(2)).await;
    let waits = |kind: &EventKind| match kind {
        EventKind::Progress(told) => told.unit == "jobs before this one" && told.total == Some(1),
        _ => false,
    };
    third.until("its place", waits).await;
    let [first, second] = &jobs;
    server.router.cancel_job(first.id).await.unwrap();
    assert_eq!(server.end(first).await.state.as_str(), "cancelled");
    third.rest().await;
    assert!(!server.router.job(second.id).await.unwrap().state.is_end());
    server.router.cancel_job(second.id).await.unwrap();
    assert_eq!(server.end(second).await.state.as_str(), "cancelled");
}

#[tokio::test]
async fn a_request_at_fault_fails_alone() {
    let server = Server::real().await;
    let long = json!({ "model": "smollm2", "prompt": "bee ".repeat(5000), "max_tokens": 1 });
    let problem = server.call("infer", long).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("prompt-too-long", 422), "{problem}");
    server.call("infer", story(1)).await.unwrap();
    assert_eq!(server.workers().await.len(), 1);
}
