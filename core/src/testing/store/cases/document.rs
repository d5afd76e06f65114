//! Documents: making, changing, listing, deleting them.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::store::{Document, Expected, PutDocument, Store, StoreError};
use crate::testing::store::sample::{raw, text_of};
use crate::testing::store::{TestStore, assert_same};

/// Puts a document, whatever is there. Returns its revision.
pub(super) async fn put(store: &TestStore, namespace: &str, key: &str, value: &str) -> u64 {
    put_if(&**store, namespace, key, value, Expected::Anything).await.unwrap()
}

async fn put_if(
    store: &dyn Store,
    namespace: &str,
    key: &str,
    value: &str,
    expected: Expected,
) -> Result<u64, StoreError> {
    let put = PutDocument { expected, ..PutDocument::new(namespace, key, raw(value)) };
    store.put_document(&put).await
}

/// A document's value and revision.
async fn found(store: &TestStore, namespace: &str, key: &str) -> Option<(String, u64)> {
    let document = store.document(namespace, key).await.unwrap()?;
    assert_eq!(document.key, key);
    Some((document.value.get().to_owned(), document.revision))
}

/// The keys of a namespace, read in pages of `limit`.
pub(super) async fn keys(store: &TestStore, namespace: &str, limit: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().map(String::as_str);
        let page = store.documents(namespace, after, limit).await.unwrap();
        let is_last = page.len() < limit;
        assert!(page.len() <= limit, "{} documents, not {limit}", page.len());
        keys.extend(page.into_iter().map(|document| document.key));
        if is_last {
            return keys;
        }
        assert!(keys.len() < 10_000, "the list has no end");
    }
}

/// The conflict names the document.
#[track_caller]
pub(super) fn assert_conflict(result: Result<impl Sized, StoreError>, of: (&str, &str)) {
    match result.err() {
        Some(StoreError::Conflict { namespace, key }) => assert_eq!((&*namespace, &*key), of),
        Some(other) => panic!("it's no conflict: {other}"),
        None => panic!("it isn't refused"),
    }
}

pub async fn a_document_comes_back_as_it_was_put(store: TestStore) {
    assert!(store.document("hive", "a").await.unwrap().is_none());
    let values = [
        raw("null"),
        raw("{ \"b\": 1.0,\n\"a\" : 1e400 }"),
        raw("\"\\u0000 \u{1f600} 'quoted'\""),
        text_of(1 << 20),
    ];
    let mut documents = Vec::new();
    for (number, value) in values.into_iter().enumerate() {
        let key = number.to_string();
        put(&store, "hive", &key, "\"earlier\"").await;
        let revision = put(&store, "hive", &key, value.get()).await;
        documents.push(Document::new(key, value, revision, None));
    }
    assert_kept(&store, &documents).await;
    assert_kept(&store.reopen().await, &documents).await;
}

/// The documents of `hive` are these, in all their fields.
pub(super) async fn assert_kept(store: &TestStore, documents: &[Document]) {
    for expected in documents {
        let kept = store.document("hive", &expected.key).await.unwrap();
        assert_same(&kept.as_ref(), &Some(expected));
    }
    let listed = store.documents("hive", None, documents.len() + 1).await.unwrap();
    assert_same(&&*listed, &documents);
}

pub async fn documents_are_listed_by_their_keys(store: TestStore) {
    assert!(keys(&store, "hive", 10).await.is_empty());
    let unsorted = [
        "b",
        "a",
        "B",
        "aa",
        "ab",
        "a b",
        "a/b",
        "a.b",
        "a%",
        "a_",
        "*",
        "ä",
        "z",
        "я",
        "\u{1f600}",
        "\u{ffee}",
        "0",
        "10",
        "9",
        "'",
        "\"",
    ];
    for key in unsorted {
        put(&store, "hive", key, &format!("[{key:?}]")).await;
    }
    let mut sorted = unsorted.map(str::to_owned);
    sorted.sort_unstable();
    for limit in [1, 2, 7, sorted.len(), 100, usize::MAX] {
        assert_eq!(keys(&store, "hive", limit).await, sorted);
    }
    assert!(store.documents("hive", None, 0).await.unwrap().is_empty());
    for document in store.documents("hive", None, 100).await.unwrap() {
        assert_eq!(document.value.get(), format!("[{:?}]", document.key));
        let (_, revision) = found(&store, "hive", &document.key).await.unwrap();
        assert_eq!(document.revision, revision);
    }
    let store = store.reopen().await;
    assert_eq!(keys(&store, "hive", 4).await, sorted);
}

pub async fn a_list_of_documents_goes_on_after_any_key(store: TestStore) {
    for key in ["b", "d", "f"] {
        put(&store, "hive", key, "1").await;
    }
    store.delete_document("hive", "d", Expected::Anything).await.unwrap();
    let after = [("a", &["b", "f"][..]), ("b", &["f"]), ("c", &["f"]), ("d", &["f"]), ("f", &[])];
    for (after, expected) in after {
        let rest = store.documents("hive", Some(after), 10).await.unwrap();
        let rest: Vec<_> = rest.iter().map(|document| &*document.key).collect();
        assert_eq!(rest, expected, "after `{after}`");
    }
}

pub async fn namespaces_do_not_meet(store: TestStore) {
    let places =
        [("a", "b/c"), ("a/b", "c"), ("a", "b.c"), ("a.b", "c"), ("A", "b/c"), ("ab", "c")];
    for (namespace, key) in places {
        put(&store, namespace, key, &format!("[{namespace:?},{key:?}]")).await;
    }
    for (namespace, key) in places {
        let (value, _) = found(&store, namespace, key).await.unwrap();
        assert_eq!(value, format!("[{namespace:?},{key:?}]"));
    }
    assert_eq!(keys(&store, "a", 10).await, ["b.c", "b/c"]);
    assert_eq!(keys(&store, "a/b", 10).await, ["c"]);
    assert!(keys(&store, "b", 10).await.is_empty());
    assert!(store.delete_document("a", "b/c", Expected::Anything).await.unwrap());
    for (namespace, key) in &places[1..] {
        assert!(found(&store, namespace, key).await.is_some(), "{namespace} {key}");
    }
}

pub async fn a_document_is_only_made_where_none_is_expected(store: TestStore) {
    let first = put_if(&*store, "hive", "a", "1", Expected::Absent).await.unwrap();
    assert_conflict(put_if(&*store, "hive", "a", "2", Expected::Absent).await, ("hive", "a"));
    assert_eq!(found(&store, "hive", "a").await, Some(("1".to_owned(), first)));
    put_if(&*store, "hive", "b", "2", Expected::Absent).await.unwrap();
    put_if(&*store, "other", "a", "2", Expected::Absent).await.unwrap();
    let store = store.reopen().await;
    assert_conflict(put_if(&*store, "hive", "a", "2", Expected::Absent).await, ("hive", "a"));
    assert!(store.delete_document("hive", "a", Expected::Anything).await.unwrap());
    put_if(&*store, "hive", "a", "3", Expected::Absent).await.unwrap();
}

pub async fn a_document_is_only_changed_from_the_revision_that_is_expected(store: TestStore) {
    let first = put(&store, "hive", "a", "1").await;
    let second = put_if(&*store, "hive", "a", "2", Expected::Revision(first)).await.unwrap();
    assert!(second > first);
    for wrong in [0, first, second + 1, u64::MAX] {
        let refused = put_if(&*store, "hive", "a", "3", Expected::Revision(wrong)).await;
        assert_conflict(refused, ("hive", "a"));
        let refused = put_if(&*store, "hive", "b", "3", Expected::Revision(wrong)).await;
        assert_conflict(refused, ("hive", "b"));
    }
    assert_eq!(found(&store, "hive", "a").await, Some(("2".to_owned(), second)));
    assert_eq!(keys(&store, "hive", 10).await, ["a"]);
    let store = store.reopen().await;
    put_if(&*store, "hive", "a", "3", Expected::Revision(second)).await.unwrap();
}

pub async fn a_document_is_only_deleted_as_expected(store: TestStore) {
    let first = put(&store, "hive", "a", "1").await;
    let second = put(&store, "hive", "a", "2").await;
    for wrong in [Expected::Absent, Expected::Revision(first), Expected::Revision(second + 1)] {
        assert_conflict(store.delete_document("hive", "a", wrong).await, ("hive", "a"));
    }
    assert_eq!(found(&store, "hive", "a").await, Some(("2".to_owned(), second)));
    assert!(store.delete_document("hive", "a", Expected::Revision(second)).await.unwrap());
    assert_eq!(found(&store, "hive", "a").await, None);
    assert!(!store.delete_document("hive", "a", Expected::Anything).await.unwrap());
    let gone = store.delete_document("hive", "a", Expected::Revision(second)).await;
    assert_conflict(gone, ("hive", "a"));

    put(&store, "hive", "b", "1").await;
    assert!(store.delete_document("hive", "b", Expected::Anything).await.unwrap());
    let store = store.reopen().await;
    assert!(keys(&store, "hive", 10).await.is_empty());
}

pub async fn revisions_grow_over_deletion_and_restart(store: TestStore) {
    let (mut store, mut newest) = (store, 0);
    for _ in 0..3 {
        for key in ["b", "a", "b"] {
            let revision = put(&store, "hive", key, "1").await;
            assert!(revision > newest, "{revision} comes after {newest}");
            newest = revision;
        }
        // All of them, so that no document is left that remembers its revision.
        for key in ["a", "b"] {
            store.delete_document("hive", key, Expected::Anything).await.unwrap();
        }
        let revision = put(&store, "hive", "b", "1").await;
        assert!(revision > newest, "{revision} comes after {newest}");
        newest = revision;
        store.delete_document("hive", "b", Expected::Anything).await.unwrap();
        store = store.reopen().await;
    }
}

pub async fn increments_at_once_are_not_lost(store: TestStore) {
    put(&store, "hive", "count", "0").await;
    let tasks = (0..100).map(|_| tokio::spawn(increment(store.share())));
    let mut revisions: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 100, "a revision was given twice");
    let (count, revision) = found(&store, "hive", "count").await.unwrap();
    assert_eq!((&*count, Some(&revision)), ("100", revisions.last()));
}

async fn increment(store: Arc<dyn Store>) -> u64 {
    loop {
        let document = store.document("hive", "count").await.unwrap().unwrap();
        let next = document.read::<u64>().unwrap() + 1;
        let expected = Expected::Revision(document.revision);
        match put_if(&*store, "hive", "count", &next.to_string(), expected).await {
            Ok(revision) => return revision,
            Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

pub async fn of_many_that_make_a_document_at_once_one_does(store: TestStore) {
    for round in 0..10 {
        let key = round.to_string();
        let tasks = (0..20).map(|number: u32| {
            let (store, key) = (store.share(), key.clone());
            let value = number.to_string();
            tokio::spawn(async move {
                let made = put_if(&*store, "hive", &key, &value, Expected::Absent).await;
                made.map(|revision| (value, revision))
            })
        });
        let results = join_all(tasks).await.into_iter().map(Result::unwrap);
        let (made, refused): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
        assert_eq!(made.len(), 1);
        for refused in refused {
            assert_conflict(refused, ("hive", &key));
        }
        assert_eq!(found(&store, "hive", &key).await, made[0].as_ref().ok().cloned());
    }
}
