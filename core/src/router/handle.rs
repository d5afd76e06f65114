//! The way to a router for those who are there before it.

use std::sync::{Arc, Weak};

use tokio::sync::SetOnce;

use crate::router::{Inner, Router};

/// The way to the router of the server that a plugin is in.
///
/// Plugins start before the router does, and live as long, so what they hold of it is this. Clones
/// are the same handle.
#[derive(Clone, Default)]
pub struct RouterHandle {
    router: Arc<SetOnce<Weak<Inner>>>,
}

impl RouterHandle {
    /// The router; `None` until every plugin has started, and when it's gone.
    pub fn router(&self) -> Option<Router> {
        self.router.get().and_then(Weak::upgrade).map(|inner| Router { inner })
    }

    /// Waits for the router to start. For background tasks: in a plugin's `start` this would wait for
    /// itself. `None` when the router is gone, or doesn't start. Cancel-safe.
    pub async fn started(&self) -> Option<Router> {
        self.router.wait().await;
        self.router()
    }

    pub(super) fn set(&self, router: &Router) {
        self.tell(Arc::downgrade(&router.inner));
    }

    /// There will be no router: whoever waits for it need not.
    pub(super) fn close(&self) {
        self.tell(Weak::new());
    }

    fn tell(&self, router: Weak<Inner>) {
        // It's set once: a handle is made for one start.
        let _ = self.router.set(router);
    }
}
