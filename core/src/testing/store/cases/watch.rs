//! What those are told who watch documents.

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::document::put;
use crate::store::{Change, Changes, Expected, PutDocument};
use crate::testing::store::TestStore;
use crate::testing::store::sample::raw;

/// The next change: the key, and the value if there is one now.
async fn next(changes: &mut Changes) -> (String, Option<String>) {
    match changes.next().await.expect("changes have no end") {
        Change::Put(document) => (document.key, Some(document.value.get().to_owned())),
        Change::Deleted(key) => (key, None),
        Change::Missed => panic!("a change was missed"),
    }
}

fn told(key: &str, value: Option<&str>) -> (String, Option<String>) {
    (key.to_owned(), value.map(str::to_owned))
}

async fn delete(store: &TestStore, namespace: &str, key: &str) {
    assert!(store.delete_document(namespace, key, Expected::Anything).await.unwrap());
}

pub async fn changes_are_told_in_their_order(store: TestStore) {
    let mut watchers = [store.watch_documents("hive"), store.watch_documents("hive")];
    let first = put(&store, "hive", "a", "1").await;
    put(&store, "hive", "b", "2").await;
    put(&store, "hive", "a", "3").await;
    delete(&store, "hive", "a").await;
    put(&store, "hive", "a", "4").await;
    let Some(Change::Put(document)) = watchers[0].next().await else { panic!("nothing is told") };
    assert_eq!((document.revision, &*document.key, document.value.get()), (first, "a", "1"));
    assert_eq!(next(&mut watchers[1]).await, told("a", Some("1")));
    for changes in &mut watchers {
        assert_eq!(next(changes).await, told("b", Some("2")));
        assert_eq!(next(changes).await, told("a", Some("3")));
        assert_eq!(next(changes).await, told("a", None));
        assert_eq!(next(changes).await, told("a", Some("4")));
    }
}

pub async fn nothing_from_before_is_told(store: TestStore) {
    put(&store, "hive", "a", "1").await;
    put(&store, "hive", "b", "1").await;
    delete(&store, "hive", "b").await;
    let mut changes = store.watch_documents("hive");
    put(&store, "hive", "c", "2").await;
    assert_eq!(next(&mut changes).await, told("c", Some("2")));
    drop(changes);
    let store = store.reopen().await;
    let mut changes = store.watch_documents("hive");
    delete(&store, "hive", "a").await;
    assert_eq!(next(&mut changes).await, told("a", None));
}

pub async fn a_watcher_is_told_of_its_own_namespace_only(store: TestStore) {
    let mut changes = store.watch_documents("hive");
    for other in ["hiv", "hives", "hive/a", "Hive", "*"] {
        put(&store, other, "a", "1").await;
        delete(&store, other, "a").await;
    }
    put(&store, "hive", "a", "2").await;
    assert_eq!(next(&mut changes).await, told("a", Some("2")));
}

pub async fn what_was_not_done_is_not_told(store: TestStore) {
    let revision = put(&store, "hive", "a", "1").await;
    let mut changes = store.watch_documents("hive");
    let put_a = PutDocument::new("hive", "a", raw("2"));
    for expected in [Expected::Absent, Expected::Revision(revision + 1)] {
        assert!(store.put_document(&PutDocument { expected, ..put_a.clone() }).await.is_err());
        assert!(store.delete_document("hive", "a", expected).await.is_err());
    }
    assert!(!store.delete_document("hive", "b", Expected::Anything).await.unwrap());
    put(&store, "hive", "c", "3").await;
    assert_eq!(next(&mut changes).await, told("c", Some("3")));
}

pub async fn changes_at_once_are_told_in_the_order_of_their_revisions(store: TestStore) {
    let mut changes = store.watch_documents("hive");
    let tasks = (0..100).map(|number: u32| {
        let store = store.share();
        tokio::spawn(async move {
            let key = (number % 10).to_string();
            let put = PutDocument::new("hive", &key, raw(number.to_string()));
            store.put_document(&put).await.unwrap()
        })
    });
    let mut revisions: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    for revision in revisions {
        let change = changes.next().await;
        let Some(Change::Put(document)) = change else { panic!("{change:?} is told") };
        assert_eq!(document.revision, revision);
        let kept = store.document("hive", &document.key).await.unwrap().unwrap();
        assert!(kept.revision >= revision, "a change is told before it's kept");
    }
}

pub async fn a_watcher_that_is_behind_is_told_all_or_that_it_missed_some(store: TestStore) {
    let mut changes = store.watch_documents("hive");
    let many: Vec<_> = (0..2_000).map(|number| number.to_string()).collect();
    join_all(many.iter().map(|key| put(&store, "hive", key, "1"))).await;
    let last = put(&store, "hive", "last", "1").await;
    let (mut newest, mut told, mut has_missed) = (0, 0, false);
    while newest < last {
        match changes.next().await.expect("changes have no end") {
            Change::Put(document) => {
                assert!(document.revision > newest, "an older change is told after a newer one");
                newest = document.revision;
                told += 1;
            }
            Change::Missed => has_missed = true,
            Change::Deleted(key) => panic!("`{key}` was deleted by nobody"),
        }
    }
    assert!(has_missed || told == 2_001, "{told} of 2001 changes are told");
}
