//! Jobs that a claim didn't get are left for the next one.

use std::fs;

use futures_util::poll;
use skep::JobId;
use skep::store::Store;
use skep_sqlite::SqliteStore;
use tempfile::{TempDir, tempdir};
use tokio::task::coop::{consume_budget, has_budget_remaining};

use crate::sample::{job, open};

/// A store with some jobs of a process that is gone.
async fn left_behind() -> (TempDir, SqliteStore, Vec<JobId>) {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for _ in 0..10 {
        let job = job();
        store.accept(&job).await.unwrap();
        ids.push(job.id);
    }
    drop(store);
    let store = open(dir.path());
    (dir, store, ids)
}

async fn claim(store: &SqliteStore) -> Vec<JobId> {
    store.claim(100).await.unwrap().iter().map(|claimed| claimed.record.id).collect()
}

#[tokio::test]
async fn a_claim_that_is_dropped_takes_no_job_along() {
    let (_dir, store, ids) = left_behind().await;
    let mut dropped = Box::pin(store.claim(5));
    // A task that has had its turn gets no answer, however fast the reader is.
    while has_budget_remaining() {
        consume_budget().await;
    }
    assert!(poll!(&mut dropped).is_pending());
    drop(dropped);
    assert_eq!(claim(&store).await, ids);
}

#[tokio::test]
async fn a_claim_that_cannot_read_takes_no_job_along() {
    let (dir, store, ids) = left_behind().await;
    let (path, away) = (dir.path().join("jobs.sqlite3"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    store.claim(5).await.unwrap_err();
    fs::rename(&away, &path).unwrap();
    assert_eq!(claim(&store).await, ids);
}
