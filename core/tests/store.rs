//! The memory store passes the suite that every store has to pass.

use std::sync::Arc;

use async_trait::async_trait;
use skep::store::{MemoryStore, Store};
use skep::testing::store::Fixture;

struct Memory(Arc<MemoryStore>);

#[async_trait]
impl Fixture for Memory {
    async fn open(&mut self) -> Arc<dyn Store> {
        self.0.reopen();
        self.0.clone()
    }
}

skep::testing::store_conformance!(Memory(Arc::new(MemoryStore::new(1 << 30))));
