//! What is measured: Skep as a library, all of it on one thread, without HTTP.
//!
//! - `benches/micro.rs`: how long it takes
//! - `benches/instructions.rs`: how many instructions it takes; `main.rs` is the gate that holds them
//!   against `bench/instructions.json`

#![allow(
    clippy::missing_panics_doc,
    reason = "a panic that can't happen is argued at its `expect`"
)]

mod operations;

use std::sync::Arc;
use std::time::Duration;

use skep::job::{JobId, Start};
use skep::plugin::Linked;
use skep::store::{MemoryStore, Store};
use skep::{Config, JobRequest, Router};
use tokio::runtime::{Builder, Runtime};

use self::operations::Other;
pub use self::operations::{documents, import, tokens, waiting};

/// How many operations are served where their number doesn't matter.
pub const FEW: usize = 10;

/// A router, and the runtime that it's in.
pub struct Skep {
    pub router: Router,
    runtime: Runtime,
}

impl Skep {
    /// On a store in memory, with so many operations in all.
    #[must_use]
    pub fn in_memory(operations: usize) -> Self {
        let capacity = Config::default().jobs.memory.as_u64();
        Self::on(Arc::new(MemoryStore::new(capacity)), operations)
    }

    pub fn on(store: Arc<dyn Store>, operations: usize) -> Self {
        let mut linked = Linked::all();
        let others = linked.operations.len()..operations;
        linked.handlers = others.map(|number| Arc::new(Other::new(number)) as _).collect();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let router = Router::start(Config::default(), linked, store);
        let router = runtime.block_on(router).expect("operations that can be served");
        Self { router, runtime }
    }

    /// Has a job accepted. Before the answer is there, its task runs as far as it comes by itself:
    /// there's one thread.
    pub fn create(&self, request: JobRequest) -> JobId {
        let job = self.runtime.block_on(self.router.create_job(request));
        job.expect("a job that is accepted").id
    }

    /// Runs a job to its end. Nobody reads it.
    pub fn run(&self, request: JobRequest) -> JobId {
        let id = self.create(request);
        let job = self.runtime.block_on(self.router.wait(id, Duration::MAX));
        job.expect("a job that is kept").state.result().expect("a job that succeeds");
        id
    }

    /// Runs a job that starts with its reader, and reads along.
    pub fn stream(&self, mut request: JobRequest) -> usize {
        request.start = Start::OnStream;
        let id = self.create(request);
        self.read(id)
    }

    /// Reads a job's log to its end, as the server does for a client. Returns its length, bytes.
    pub fn read(&self, id: JobId) -> usize {
        self.runtime.block_on(async {
            let events = self.router.execute_job(id, 0).await.expect("a job that is kept");
            let mut frames = events.into_frames();
            let mut length = 0;
            while let Some(some) = frames.next().await.expect("a log that can be read") {
                length += some.len();
            }
            length
        })
    }
}
