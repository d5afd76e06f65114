//! Documents.

use async_trait::async_trait;
use skep::store::{Changes, Document, DocumentStore, Expected, PutDocument, StoreError};

use crate::change::{Delete, Put};
use crate::query;
use crate::store::SqliteStore;

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn document(&self, namespace: &str, key: &str) -> Result<Option<Document>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.readers.run(move |db| query::one_document(db, &namespace, &key)).await
    }

    async fn documents(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        let found = move |db: &_| query::documents(db, &namespace, after.as_deref(), limit);
        self.readers.run(found).await
    }

    async fn put_document(&self, put: &PutDocument<'_>) -> Result<u64, StoreError> {
        let change = Put {
            namespace: put.namespace.to_owned(),
            key: put.key.to_owned(),
            value: put.value.clone(),
            expected: put.expected,
            expires_at: put.expires_at,
        };
        self.writer.make(change).await
    }

    async fn delete_document(
        &self,
        namespace: &str,
        key: &str,
        expected: Expected,
    ) -> Result<bool, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.writer.make(Delete { namespace, key, expected }).await
    }

    fn watch_documents(&self, namespace: &str) -> Changes {
        self.feed.watch(namespace)
    }
}
