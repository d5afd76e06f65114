//! What a plugin's `start` is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{OperationError, Result};
use crate::operation::OperationHandler;
use crate::plugin::{NoConfig, ShutdownSignal, Tasks};
use crate::registry::{Owner, Registry};
use crate::router::{RouterHandle, StartError};
use crate::store::Documents;

/// What a plugin's `start` is given: its configuration, and what it has of the server.
#[non_exhaustive]
pub struct PluginContext<C = NoConfig> {
    /// The plugin's configuration.
    pub config: C,
    server: Server,
}

/// What a plugin has of the server that it's in.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) data_dir: PathBuf,
    pub(crate) documents: Documents,
    pub(crate) operations: OperationSet,
    pub(crate) router: RouterHandle,
    pub(crate) tasks: Tasks,
}

impl<C> PluginContext<C> {
    pub(crate) fn new(config: C, server: Server) -> Self {
        Self { config, server }
    }

    /// The plugin's documents: what it has to remember beyond a restart, without a database of its
    /// own.
    pub fn documents(&self) -> &Documents {
        &self.server.documents
    }

    /// The plugin's own directory, made if it isn't there yet.
    ///
    /// # Errors
    /// If it can't be made. The error names the path, for the server's log: it isn't for clients.
    pub fn data_dir(&self) -> Result<&Path> {
        let path = &self.server.data_dir;
        std::fs::create_dir_all(path).map_err(|error| {
            let path = path.display();
            OperationError::message(format!("can't make the directory {path}: {error}"))
        })?;
        Ok(path)
    }

    /// The way to the router, which isn't there yet: it starts when every plugin has.
    pub fn router(&self) -> &RouterHandle {
        &self.server.router
    }

    /// Operations beside those in the plugin's code, which it adds and takes away while the server
    /// runs.
    pub fn operations(&self) -> &OperationSet {
        &self.server.operations
    }

    /// Runs `task` beside the plugin's operations, from now on.
    ///
    /// The server owns it: when no job runs any more the task is told to stop
    /// ([`shutdown`](Self::shutdown)), and it's dropped if it doesn't within 10 s. A task that
    /// panics makes the plugin unhealthy.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.server.tasks.spawn(task);
    }

    /// The signal that the plugin is to stop.
    pub fn shutdown(&self) -> ShutdownSignal {
        self.server.tasks.signal()
    }
}

impl PluginContext<Value> {
    /// The context with the configuration read into its type; `#[skep::plugin]` calls it.
    ///
    /// # Errors
    /// If the configuration isn't a `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Result<PluginContext<T>> {
        let config = serde_json::from_value(self.config)?;
        Ok(PluginContext { config, server: self.server })
    }
}

/// The operations that a plugin adds and takes away while the server runs.
///
/// Clones are the same set.
#[derive(Clone)]
pub struct OperationSet {
    pub(crate) registry: Arc<Registry>,
    pub(crate) owner: Owner,
}

impl OperationSet {
    /// Serves `handlers` in place of all that the set had. Jobs that were accepted before finish with
    /// the handler that they began with.
    ///
    /// Jobs that a server before this one left behind are only taken up for operations that are there
    /// when the plugin's `start` returns.
    ///
    /// # Errors
    /// If one of them can't be served: its spec is wrong, or its name is another crate's. Then the set
    /// stays as it was.
    pub fn replace(&self, handlers: Vec<Arc<dyn OperationHandler>>) -> Result<(), StartError> {
        self.registry.replace(self.owner, handlers)
    }
}
