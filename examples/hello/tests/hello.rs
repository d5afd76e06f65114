//! The operation through the router, as a server runs it.

use std::sync::Arc;

use futures_util::TryStreamExt;
use serde_json::json;
use skep::job::{Event, EventKind};
use skep::plugin::Linked;
use skep::store::MemoryStore;
use skep::{Config, JobRequest, Router};
use skep_hello as _;

#[tokio::test]
async fn it_greets_a_word_at_a_time() {
    let config = Config::default();
    let store = MemoryStore::new(config.jobs.memory.as_u64());
    let router = Router::start(config, Linked::all(), Arc::new(store)).await.unwrap();

    let job = router.create_job(JobRequest::new("hello", json!({ "name": "Ada" }))).await.unwrap();
    let events: Vec<Event> =
        router.execute_job(job.id, 0).await.unwrap().try_collect().await.unwrap();
    let words: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Output(word) => word.as_str(),
            _ => None,
        })
        .collect();
    assert_eq!(words, ["Hello,", "Ada"]);
    assert_eq!(router.call("hello", json!({ "name": "Ada" })).await.unwrap(), "Hello, Ada!");
}
