//! Documents: small JSON values of plugins, with revisions, that a store keeps beside its jobs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream::unfold;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::store::{Store, StoreError};

/// How many changes a watcher may be behind before it misses some.
const FEED_LENGTH: usize = 1024;

/// The documents of a store: JSON values by namespace and key.
///
/// Every change gives a document a revision that is larger than any before it in its namespace, so
/// that one that was deleted and made anew is never taken for the same. A document whose time is
/// over is gone for every call here, at once.
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    /// A document.
    async fn document(&self, namespace: &str, key: &str) -> Result<Option<Document>, StoreError>;

    /// The documents of a namespace with keys after `after`, by their keys (compared as bytes), at
    /// most `limit` of them.
    async fn documents(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;

    /// Makes or changes a document, if it is as expected. Returns its new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it isn't; then nothing has changed.
    async fn put_document(&self, put: &PutDocument<'_>) -> Result<u64, StoreError>;

    /// Deletes a document, if it is as expected. Returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it isn't; then nothing has changed.
    async fn delete_document(
        &self,
        namespace: &str,
        key: &str,
        expected: Expected,
    ) -> Result<bool, StoreError>;

    /// The changes of a namespace's documents from now on, in their order, once they are kept.
    fn watch_documents(&self, namespace: &str) -> Changes;
}

/// A document as it's kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Document {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Arc<RawValue>,
    /// Which change made it so.
    pub revision: u64,
    /// When it's gone.
    pub expires_at: Option<Timestamp>,
}

impl Document {
    /// A document as a store read it.
    pub fn new(
        key: String,
        value: Arc<RawValue>,
        revision: u64,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { key, value, revision, expires_at }
    }

    /// The value, read into its type.
    ///
    /// # Errors
    /// If it isn't a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.value.get())
    }
}

/// A change of a document, for [`DocumentStore::put_document`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PutDocument<'a> {
    /// The namespace; a plugin's own is its name.
    pub namespace: &'a str,
    /// The key within it.
    pub key: &'a str,
    /// The new value.
    pub value: Arc<RawValue>,
    /// What it must be before.
    pub expected: Expected,
    /// When it's gone by itself.
    pub expires_at: Option<Timestamp>,
}

impl<'a> PutDocument<'a> {
    /// `value` under `key`, whatever is there, and for as long as nobody changes it.
    pub fn new(namespace: &'a str, key: &'a str, value: Arc<RawValue>) -> Self {
        Self { namespace, key, value, expected: Expected::Anything, expires_at: None }
    }
}

/// What a document must be for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// Not there.
    Absent,
    /// As this revision left it.
    Revision(u64),
}

impl Expected {
    /// Whether a document that is at `revision` (`None`: isn't there) is as expected.
    pub fn is_met(self, revision: Option<u64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => revision.is_none(),
            Self::Revision(expected) => revision == Some(expected),
        }
    }
}

/// A change that someone made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// A document was made or changed.
    Put(Document),
    /// The document of this key was deleted, or its time was over.
    Deleted(String),
    /// The watcher was too slow and has missed some changes: it has to list the documents again.
    Missed,
}

/// The changes of one namespace, without an end. Dropping it ends the watch.
pub type Changes = BoxStream<'static, Change>;

/// Tells changes to their watchers: for a store that is the only one to change its documents.
pub struct Feed {
    sender: broadcast::Sender<(Arc<str>, Change)>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(FEED_LENGTH) }
    }
}

impl Feed {
    /// Tells a change to those who watch `namespace`. Call it when the change is kept, in the order
    /// of the changes.
    pub fn publish(&self, namespace: &str, change: Change) {
        // Nobody may be there to hear it.
        let _ = self.sender.send((namespace.into(), change));
    }

    /// The changes of `namespace` from now on.
    pub fn watch(&self, namespace: &str) -> Changes {
        let namespace = namespace.to_owned();
        let changes =
            unfold((self.sender.subscribe(), namespace), async |(mut feed, namespace)| {
                loop {
                    match feed.recv().await {
                        Ok((of, change)) if *of == *namespace => {
                            return Some((change, (feed, namespace)));
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => {
                            return Some((Change::Missed, (feed, namespace)));
                        }
                        Err(RecvError::Closed) => return None,
                    }
                }
            });
        Box::pin(changes)
    }
}

/// The documents of one plugin: its namespace of the store.
///
/// From [`PluginContext::documents`](crate::plugin::PluginContext::documents). What is put here is
/// kept as safely as the server's jobs are, and shared by all servers on the same store.
#[derive(Clone)]
pub struct Documents {
    store: Arc<dyn Store>,
    namespace: Arc<str>,
}

impl Documents {
    pub(crate) fn new(store: Arc<dyn Store>, namespace: &str) -> Self {
        Self { store, namespace: namespace.into() }
    }

    /// The document of `key`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn get(&self, key: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(&self.namespace, key).await
    }

    /// The documents with keys after `after`, by their keys, at most `limit` of them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.documents(&self.namespace, after, limit).await
    }

    /// Makes or changes the document of `key`, if it is as expected. Returns its new revision.
    ///
    /// If the future is dropped, the change may have been made.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it isn't as expected; [`StoreError::NotJson`] if `value` doesn't
    /// serialise.
    pub async fn put(
        &self,
        key: &str,
        value: &(impl Serialize + Sync),
        expected: Expected,
    ) -> Result<u64, StoreError> {
        self.store.put_document(&self.change(key, value, expected)?).await
    }

    /// The same, for a document that is gone by itself `ttl` from now, unless it's put again.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_for(
        &self,
        key: &str,
        value: &(impl Serialize + Sync),
        expected: Expected,
        ttl: Duration,
    ) -> Result<u64, StoreError> {
        let mut put = self.change(key, value, expected)?;
        // A time beyond what the calendar has is never.
        put.expires_at = clock::system().checked_add(ttl).ok().map(clock::kept);
        self.store.put_document(&put).await
    }

    /// Deletes the document of `key`, if it is as expected. Returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it isn't as expected.
    pub async fn delete(&self, key: &str, expected: Expected) -> Result<bool, StoreError> {
        self.store.delete_document(&self.namespace, key, expected).await
    }

    /// The changes from now on, whoever makes them. To have all: watch, then list.
    pub fn watch(&self) -> Changes {
        self.store.watch_documents(&self.namespace)
    }

    fn change<'a>(
        &'a self,
        key: &'a str,
        value: &impl Serialize,
        expected: Expected,
    ) -> Result<PutDocument<'a>, StoreError> {
        let value =
            to_raw_value(value).map_err(|error| StoreError::NotJson(key.to_owned(), error))?;
        Ok(PutDocument { expected, ..PutDocument::new(&self.namespace, key, value.into()) })
    }
}
