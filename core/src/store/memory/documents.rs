//! The memory store's documents.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::clock;
use crate::store::{
    Change, Changes, Document, DocumentStore, Expected, Feed, MemoryStore, PutDocument, StoreError,
};

#[derive(Default)]
pub(super) struct MemoryDocuments {
    kept: Mutex<Kept>,
    feed: Feed,
}

#[derive(Default)]
struct Kept {
    /// By namespace and key.
    documents: BTreeMap<(String, String), Document>,
    /// The revision of the last change.
    revision: u64,
}

impl Kept {
    /// Forgets the documents whose time is over.
    fn expire(&mut self, feed: &Feed) {
        let now = clock::system();
        self.documents.retain(|(namespace, key), document| {
            let stays = document.expires_at.is_none_or(|at| at > now);
            if !stays {
                feed.publish(namespace, Change::Deleted(key.clone()));
            }
            stays
        });
    }

    fn check(&self, at: &(String, String), expected: Expected) -> Result<(), StoreError> {
        if expected.is_met(self.documents.get(at).map(|document| document.revision)) {
            return Ok(());
        }
        Err(StoreError::Conflict { namespace: at.0.clone(), key: at.1.clone() })
    }
}

impl MemoryDocuments {
    /// What is kept, without the documents whose time is over. Changes are published under the
    /// lock, so that watchers hear them in their order.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.expire(&self.feed);
        kept
    }

    /// Forgets the documents whose time is over.
    pub(super) fn sweep(&self) {
        drop(self.lock());
    }
}

#[async_trait]
impl DocumentStore for MemoryStore {
    async fn document(&self, namespace: &str, key: &str) -> Result<Option<Document>, StoreError> {
        let at = (namespace.to_owned(), key.to_owned());
        Ok(self.documents.lock().documents.get(&at).cloned())
    }

    async fn documents(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let from = match after {
            Some(key) => Bound::Excluded((namespace.to_owned(), key.to_owned())),
            None => Bound::Included((namespace.to_owned(), String::new())),
        };
        let kept = self.documents.lock();
        let later = kept.documents.range((from, Bound::Unbounded));
        let own = later.take_while(|((of, _), _)| of == namespace);
        Ok(own.take(limit).map(|(_, document)| document.clone()).collect())
    }

    async fn put_document(&self, put: &PutDocument<'_>) -> Result<u64, StoreError> {
        let at = (put.namespace.to_owned(), put.key.to_owned());
        let mut kept = self.documents.lock();
        kept.check(&at, put.expected)?;
        kept.revision += 1;
        let document = Document {
            key: at.1.clone(),
            value: put.value.clone(),
            revision: kept.revision,
            expires_at: put.expires_at,
        };
        let revision = document.revision;
        self.documents.feed.publish(put.namespace, Change::Put(document.clone()));
        kept.documents.insert(at, document);
        Ok(revision)
    }

    async fn delete_document(
        &self,
        namespace: &str,
        key: &str,
        expected: Expected,
    ) -> Result<bool, StoreError> {
        let at = (namespace.to_owned(), key.to_owned());
        let mut kept = self.documents.lock();
        kept.check(&at, expected)?;
        let deleted = kept.documents.remove(&at).is_some();
        if deleted {
            self.documents.feed.publish(namespace, Change::Deleted(key.to_owned()));
        }
        Ok(deleted)
    }

    fn watch_documents(&self, namespace: &str) -> Changes {
        self.documents.feed.watch(namespace)
    }
}
