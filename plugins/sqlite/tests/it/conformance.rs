//! The suite that every store passes.

use std::sync::Arc;

use async_trait::async_trait;
use skep::store::Store;
use skep::testing::store::Fixture;
use skep_sqlite::SqliteStore;
use tempfile::TempDir;

struct Directory(TempDir);

#[async_trait]
impl Fixture for Directory {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path()).unwrap())
    }
}

skep::testing::store_conformance!(Directory(tempfile::tempdir().unwrap()));
