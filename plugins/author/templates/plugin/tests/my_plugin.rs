//! The operation through the router, as a server runs it.

use std::sync::Arc;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skep::job::{Event, EventKind};
use skep::plugin::Linked;
use skep::store::MemoryStore;
use skep::{Config, JobRequest, Router};

use my_plugin as _;

const PLUGIN: &str = "my-plugin";
const OPERATION: &str = "my_plugin";

/// A server's router, with `table` as `[plugins.my-plugin]`.
async fn router(table: Value) -> Router {
    let mut config = Config::default();
    config.plugins.insert(PLUGIN.to_owned(), table);
    let store = MemoryStore::new(config.jobs.memory.as_u64());
    Router::start(config, Linked::all(), Arc::new(store))
        .await
        .unwrap()
}

/// What a job emits for `input`.
async fn output(router: &Router, input: Value) -> Vec<Value> {
    let job = router
        .create_job(JobRequest::new(OPERATION, input))
        .await
        .unwrap();
    let events = router.execute_job(job.id, 0).await.unwrap();
    let events: Vec<Event> = events.try_collect().await.unwrap();
    let output = events.into_iter().filter_map(|event| match event.kind {
        EventKind::Output(value) => Some(value),
        _ => None,
    });
    output.collect()
}

#[tokio::test]
async fn it_says_a_text_a_word_at_a_time() {
    let router = router(json!({})).await;
    assert_eq!(
        output(&router, json!({ "text": "good morning" })).await,
        ["good!", "morning!"]
    );
    let said = router
        .call(OPERATION, json!({ "text": "again" }))
        .await
        .unwrap();
    assert_eq!(said, json!({ "words": 1, "count": 2 }));
}

#[tokio::test]
async fn its_words_end_as_they_are_configured_to() {
    let router = router(json!({ "ending": "?" })).await;
    assert_eq!(
        output(&router, json!({ "text": "really" })).await,
        ["really?"]
    );
}

#[tokio::test]
async fn a_text_of_nothing_is_refused() {
    let router = router(json!({})).await;
    let refused = router
        .call(OPERATION, json!({ "text": "" }))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "invalid-input");
}
