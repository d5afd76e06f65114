//! Checkpoints of jobs.

use crate::job::JobId;
use crate::testing::store::TestStore;
use crate::testing::store::sample::{end, jobs, raw, text_of};

async fn saved(store: &TestStore, id: JobId, name: &str) -> Option<String> {
    let value = store.checkpointed(id, name).await.unwrap();
    value.map(|value| value.get().to_owned())
}

pub async fn a_checkpoint_is_kept(store: TestStore) {
    let jobs = jobs(1);
    let id = jobs[0].id;
    store.take_all(&jobs).await;
    assert_eq!(saved(&store, id, "place").await, None);
    let values = [
        ("place", raw("{ \"a\": 1.0 }")),
        ("имя / \"%\"", raw("null")),
        ("large", text_of(1 << 20)),
    ];
    for (name, value) in &values {
        store.checkpoint(id, name, value).await.unwrap();
    }
    for (name, value) in &values {
        assert_eq!(saved(&store, id, name).await.as_deref(), Some(value.get()));
    }
    let store = store.reopen().await;
    assert_eq!(store.claim_all(10).await.len(), 1);
    for (name, value) in &values {
        assert_eq!(saved(&store, id, name).await.as_deref(), Some(value.get()));
    }
}

pub async fn a_checkpoint_replaces_an_earlier_one_of_its_name(store: TestStore) {
    let jobs = jobs(1);
    let id = jobs[0].id;
    store.take_all(&jobs).await;
    for value in ["1", "\"twenty-two\"", "3"] {
        store.checkpoint(id, "place", &raw(value)).await.unwrap();
        assert_eq!(saved(&store, id, "place").await.as_deref(), Some(value));
    }
    let store = store.reopen().await;
    assert_eq!(saved(&store, id, "place").await.as_deref(), Some("3"));
}

pub async fn jobs_and_names_do_not_share_checkpoints(store: TestStore) {
    let jobs = jobs(2);
    store.take_all(&jobs).await;
    let all = jobs.iter().flat_map(|job| ["a", "A", "ab", "a/b"].map(|name| (job.id, name)));
    let all: Vec<_> = all.enumerate().collect();
    for (number, (id, name)) in &all {
        store.checkpoint(*id, name, &raw(number.to_string())).await.unwrap();
    }
    for (number, (id, name)) in &all {
        assert_eq!(saved(&store, *id, name).await, Some(number.to_string()));
        assert_eq!(saved(&store, *id, &format!("{name}?")).await, None);
    }
}

pub async fn checkpoints_are_gone_after_the_end(store: TestStore) {
    let jobs = jobs(2);
    store.take_all(&jobs).await;
    for job in &jobs {
        store.checkpoint(job.id, "place", &raw("1")).await.unwrap();
    }
    end(&*store, &jobs[0]).await;
    assert_eq!(saved(&store, jobs[0].id, "place").await, None);
    // From a handler that was left behind.
    store.checkpoint(jobs[0].id, "place", &raw("2")).await.unwrap();
    assert_eq!(saved(&store, jobs[0].id, "place").await, None);
    assert_eq!(saved(&store, jobs[1].id, "place").await.as_deref(), Some("1"));
    let store = store.reopen().await;
    assert_eq!(saved(&store, jobs[0].id, "place").await, None);
    assert_eq!(saved(&store, jobs[1].id, "place").await.as_deref(), Some("1"));
}
