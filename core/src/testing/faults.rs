//! A store that fails when a test wants it to.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::job::{JobId, JobRecord, JobSummary};
use crate::store::{
    Accepted, Changes, Claimed, Document, DocumentStore, Expected, JobQuery, Position, PutDocument,
    Retention, Segment, Store, StoreError, Sweep,
};

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the method of its name")]
pub enum StoreCall {
    Accept,
    Update,
    Cancel,
    Append,
    Checkpoint,
    Checkpointed,
    End,
    Claim,
    Job,
    Keyed,
    Read,
    List,
    Sweep,
    Document,
    Documents,
    PutDocument,
    DeleteDocument,
}

impl StoreCall {
    /// Whether it changes what is kept.
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Self::Checkpointed
                | Self::Claim
                | Self::Job
                | Self::Keyed
                | Self::Read
                | Self::List
                | Self::Document
                | Self::Documents
        )
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It's done.
    #[default]
    None,
    /// It's done, and not at once: other tasks run before.
    Delayed,
    /// It's not done, and fails.
    Fails,
    /// It's done, and fails all the same: the answer is lost.
    FailsLate,
}

/// A store before another one, which lets its calls fail.
///
/// ```
/// use std::sync::Arc;
/// use skep::store::{MemoryStore, Store};
/// use skep::testing::{Fault, FaultyStore, StoreCall};
///
/// let memory = Arc::new(MemoryStore::new(1 << 20));
/// let store = FaultyStore::new(memory, |call| match call {
///     StoreCall::Append => Fault::Fails,
///     _ => Fault::None,
/// });
/// assert!(!store.is_durable());
/// ```
pub struct FaultyStore<F> {
    store: Arc<dyn Store>,
    fault: F,
}

impl<F: Fn(StoreCall) -> Fault + Send + Sync + 'static> FaultyStore<F> {
    /// `store`, whose calls end as `fault` says. It's asked once a call.
    pub fn new(store: Arc<dyn Store>, fault: F) -> Self {
        Self { store, fault }
    }

    async fn ask<T>(
        &self,
        call: StoreCall,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match (self.fault)(call) {
            Fault::None => return answer.await,
            Fault::Delayed => {
                tokio::task::yield_now().await;
                return answer.await;
            }
            Fault::FailsLate => drop(answer.await?),
            Fault::Fails => {}
        }
        Err(StoreError::Unavailable(format!("{call:?} was made to fail")))
    }
}

#[async_trait]
impl<F: Fn(StoreCall) -> Fault + Send + Sync + 'static> Store for FaultyStore<F> {
    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    async fn accept(&self, job: &JobRecord) -> Result<Accepted, StoreError> {
        self.ask(StoreCall::Accept, self.store.accept(job)).await
    }

    async fn update(&self, job: &JobRecord) -> Result<(), StoreError> {
        self.ask(StoreCall::Update, self.store.update(job)).await
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        self.ask(StoreCall::Cancel, self.store.cancel(id)).await
    }

    async fn append(&self, id: JobId, segments: Vec<Segment>) -> Result<(), StoreError> {
        self.ask(StoreCall::Append, self.store.append(id, segments)).await
    }

    async fn checkpoint(&self, id: JobId, name: &str, value: &RawValue) -> Result<(), StoreError> {
        self.ask(StoreCall::Checkpoint, self.store.checkpoint(id, name, value)).await
    }

    async fn checkpointed(
        &self,
        id: JobId,
        name: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError> {
        self.ask(StoreCall::Checkpointed, self.store.checkpointed(id, name)).await
    }

    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError> {
        self.ask(StoreCall::End, self.store.end(job, rest)).await
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        self.ask(StoreCall::Claim, self.store.claim(limit)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.ask(StoreCall::Job, self.store.job(id)).await
    }

    async fn keyed(&self, key: &str) -> Result<Option<JobId>, StoreError> {
        self.ask(StoreCall::Keyed, self.store.keyed(key)).await
    }

    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError> {
        self.ask(StoreCall::Read, self.store.read(id, position)).await
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<JobSummary>, StoreError> {
        self.ask(StoreCall::List, self.store.list(query)).await
    }

    async fn sweep(&self, keep: &Retention) -> Result<Sweep, StoreError> {
        self.ask(StoreCall::Sweep, self.store.sweep(keep)).await
    }
}

#[async_trait]
impl<F: Fn(StoreCall) -> Fault + Send + Sync + 'static> DocumentStore for FaultyStore<F> {
    async fn document(&self, namespace: &str, key: &str) -> Result<Option<Document>, StoreError> {
        self.ask(StoreCall::Document, self.store.document(namespace, key)).await
    }

    async fn documents(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.ask(StoreCall::Documents, self.store.documents(namespace, after, limit)).await
    }

    async fn put_document(&self, put: &PutDocument<'_>) -> Result<u64, StoreError> {
        self.ask(StoreCall::PutDocument, self.store.put_document(put)).await
    }

    async fn delete_document(
        &self,
        namespace: &str,
        key: &str,
        expected: Expected,
    ) -> Result<bool, StoreError> {
        let deleted = self.store.delete_document(namespace, key, expected);
        self.ask(StoreCall::DeleteDocument, deleted).await
    }

    fn watch_documents(&self, namespace: &str) -> Changes {
        self.store.watch_documents(namespace)
    }
}
