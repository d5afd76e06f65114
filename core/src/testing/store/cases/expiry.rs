//! Documents with a time at which they are gone.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::task::yield_now;

use super::document::{assert_conflict, assert_kept, keys, put};
use crate::clock;
use crate::store::{Change, Document, Expected, PutDocument, Retention};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{moment, raw};

/// Long over.
const PAST: Timestamp = Timestamp::UNIX_EPOCH;

async fn put_until(store: &TestStore, key: &str, expires_at: Timestamp) -> u64 {
    let put = PutDocument {
        expires_at: Some(expires_at),
        ..PutDocument::new("hive", key, raw("\"for a while\""))
    };
    store.put_document(&put).await.unwrap()
}

pub async fn a_document_is_gone_when_its_time_is_over(store: TestStore) {
    let far = Timestamp::new(Timestamp::now().as_second() + 3_600, 123_456_000).unwrap();
    let mut stay = Vec::new();
    for (key, expires_at) in [("far", far), ("last", clock::kept(Timestamp::MAX))] {
        let revision = put_until(&store, key, expires_at).await;
        let value = raw("\"for a while\"");
        stay.push(Document::new(key.to_owned(), value, revision, Some(expires_at)));
    }
    put_until(&store, "past", PAST).await;
    let near = clock::now() + Duration::from_millis(20);
    put_until(&store, "near", near).await;
    while let Some(document) = store.document("hive", "near").await.unwrap() {
        assert_eq!(document.expires_at, Some(near));
        assert!(Timestamp::now() < near + Duration::from_secs(5), "its time is over");
        yield_now().await;
    }
    assert!(Timestamp::now() >= near, "its time isn't over");
    assert!(store.document("hive", "past").await.unwrap().is_none());
    assert_kept(&store, &stay).await;
    let store = store.reopen().await;
    assert!(store.document("hive", "past").await.unwrap().is_none());
    assert_kept(&store, &stay).await;
}

pub async fn a_document_whose_time_is_over_counts_as_absent(store: TestStore) {
    let old = put_until(&store, "a", PAST).await;
    let put = PutDocument::new("hive", "a", raw("1"));
    let from_old = PutDocument { expected: Expected::Revision(old), ..put.clone() };
    assert_conflict(store.put_document(&from_old).await, ("hive", "a"));
    let deleted = store.delete_document("hive", "a", Expected::Revision(old)).await;
    assert_conflict(deleted, ("hive", "a"));
    assert!(!store.delete_document("hive", "a", Expected::Anything).await.unwrap());

    let old = put_until(&store, "a", PAST).await;
    let made = PutDocument { expected: Expected::Absent, ..put };
    let new = store.put_document(&made).await.unwrap();
    assert!(new > old);
    let document = store.document("hive", "a").await.unwrap().unwrap();
    assert_eq!((document.revision, document.expires_at), (new, None));
}

pub async fn a_document_that_is_put_again_has_its_new_time(store: TestStore) {
    let far = clock::now() + Duration::from_hours(1);
    put_until(&store, "a", PAST).await;
    put_until(&store, "a", far).await;
    put(&store, "hive", "b", "1").await;
    put_until(&store, "b", PAST).await;
    put_until(&store, "c", moment(0)).await;
    put(&store, "hive", "c", "1").await;
    store.sweep_all(&Retention::ALL).await;
    assert_eq!(keys(&store, "hive", 10).await, ["a", "c"]);
    let store = store.reopen().await;
    store.sweep_all(&Retention::ALL).await;
    assert_eq!(keys(&store, "hive", 10).await, ["a", "c"]);
}

pub async fn documents_whose_time_is_over_leave_no_gaps_in_lists(store: TestStore) {
    let mut stay = Vec::new();
    for number in 0..20 {
        let key = format!("{number:02}");
        if number % 3 == 1 {
            put(&store, "hive", &key, "1").await;
            stay.push(key);
        } else {
            put_until(&store, &key, PAST).await;
        }
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(keys(&store, "hive", limit).await, stay);
    }
}

pub async fn a_watcher_is_told_of_a_document_whose_time_is_over(store: TestStore) {
    let mut changes = store.watch_documents("hive");
    put_until(&store, "a", Timestamp::now() + Duration::from_millis(20)).await;
    assert!(matches!(changes.next().await, Some(Change::Put(document)) if document.key == "a"));
    let deleted = loop {
        store.sweep_all(&Retention::ALL).await;
        yield_now().await;
        if let Some(change) = changes.next().now_or_never() {
            break change;
        }
    };
    assert!(matches!(&deleted, Some(Change::Deleted(key)) if key == "a"), "{deleted:?}");
    assert!(store.document("hive", "a").await.unwrap().is_none());
    put(&store, "hive", "b", "1").await;
    let next = changes.next().await;
    assert!(matches!(&next, Some(Change::Put(document)) if document.key == "b"), "{next:?}");
}
