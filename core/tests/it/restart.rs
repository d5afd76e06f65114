//! Lives of a server, one after the other, on one store.

use std::sync::Arc;
use std::time::Duration;

use skep::plugin::Linked;
use skep::store::MemoryStore;
use skep::{Config, Router};
use tokio::runtime;

/// What outlives a server.
#[derive(Clone)]
pub(crate) struct Disk(pub(crate) Arc<MemoryStore>);

impl Disk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(MemoryStore::for_restarts(64 << 20)))
    }

    /// A router on this disk, with patience for none.
    pub(crate) async fn router(&self) -> Router {
        self.router_with(|_| {}).await
    }

    pub(crate) async fn router_with(&self, change: impl FnOnce(&mut Config)) -> Router {
        self.router_of(Linked::all(), change).await
    }

    /// A router of what is `linked`, on this disk.
    pub(crate) async fn router_of(
        &self,
        linked: Linked,
        change: impl FnOnce(&mut Config),
    ) -> Router {
        let mut config = Config::default();
        config.jobs.cancel_grace = Duration::from_millis(200);
        change(&mut config);
        self.0.reopen();
        Router::start(config, linked, self.0.clone()).await.expect("the router starts")
    }

    /// Lets `life` happen on a router that then dies, as by `kill -9`.
    pub(crate) async fn crash_after<T: Send + 'static>(
        &self,
        life: impl AsyncFnOnce(Router) -> T + Send + 'static,
    ) -> T {
        self.crash_of(Linked::all, life).await
    }

    /// The same for a router of what is `linked`.
    pub(crate) async fn crash_of<T: Send + 'static>(
        &self,
        linked: fn() -> Linked,
        life: impl AsyncFnOnce(Router) -> T + Send + 'static,
    ) -> T {
        let disk = self.clone();
        let lived = tokio::task::spawn_blocking(move || {
            let mut runtime = runtime::Builder::new_multi_thread();
            let runtime =
                runtime.worker_threads(2).enable_all().build().expect("there are threads");
            let result =
                runtime.block_on(async { life(disk.router_of(linked(), |_| {}).await).await });
            runtime.shutdown_timeout(Duration::from_millis(100));
            result
        });
        lived.await.expect("the life went well")
    }
}
