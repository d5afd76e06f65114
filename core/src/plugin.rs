//! Plugins: crates that contribute operations, and how they get into a server.
//!
//! A plugin's life, in order:
//!
//! 1. *Register*: linking the crate is enough. `#[skep::plugin]` and `#[skep::operation]` hand a
//!    [`PluginRegistration`] or an [`OperationRegistration`] to [`inventory`], which collects them
//!    before `main`. [`Linked`] is what has been collected.
//! 2. *Configure*: the plugin's table of the configuration, `[plugins.NAME]`, is checked against
//!    the schema of its config type. With `enabled = false` there, its life ends here.
//! 3. *Start*: the plugin's `start` makes its state from a [`PluginContext`]. Plugins start in the
//!    order of their names, each after those that it names by `after`. If one fails, the server
//!    doesn't start.
//! 4. *Serve*: its operations are called; [`Plugin::health`] is asked by `/readyz`.
//! 5. *Shut down*: when no job runs any more, the plugin's background tasks are told to stop, and
//!    then [`Plugin::shutdown`] is called, in the reverse order of the starts.
//!
//! What a plugin may contribute beside operations: an [`Interceptor`] around
//! every execution, resources over [HTTP](crate::http), commands of the command line, metrics, and
//! stores.

mod context;
mod linked;
mod order;
mod tasks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use serde_json::Value;

pub(crate) use self::context::Server;
pub use self::context::{OperationSet, PluginContext};
pub use self::linked::Linked;
pub(crate) use self::order::in_order;
pub use self::tasks::ShutdownSignal;
pub(crate) use self::tasks::{OwnedTasks, Tasks};
use crate::config::JobsConfig;
use crate::error::Result;
use crate::http::Route;
use crate::interceptor::Interceptor;
use crate::operation::{OperationHandler, OperationSpec};
pub use crate::router::RouterHandle;
use crate::store::Store;

/// A plugin that runs. `#[skep::plugin]` implements it.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Ends what the plugin has begun. Called once, when no job runs any more.
    async fn shutdown(&self) {}

    /// Whether the plugin can do its work. Should answer within a second.
    async fn health(&self) -> Health {
        Health::Healthy
    }
}

/// Whether a plugin can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Healthy,
    /// It can't, and why.
    Unhealthy(String),
}

/// The configuration of a plugin that has none: its table, if there is one, is empty.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The crate that something was registered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// The crate's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The directory that it was compiled from, on the machine that compiled it; empty if that
    /// isn't known.
    pub source: &'static str,
}

impl Package {
    /// A crate by its name and version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, source: "" }
    }

    /// The same, compiled from the directory `source`.
    #[must_use]
    pub const fn compiled_from(self, source: &'static str) -> Self {
        Self { source, ..self }
    }
}

/// The crate that this is written in, as a [`Package`](crate::plugin::Package).
#[macro_export]
macro_rules! package {
    () => {
        $crate::plugin::Package::new(
            ::core::env!("CARGO_PKG_NAME"),
            ::core::env!("CARGO_PKG_VERSION"),
        )
        .compiled_from(::core::env!("CARGO_MANIFEST_DIR"))
    };
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A plugin that has started, with what it contributes.
#[non_exhaustive]
pub struct Started {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its operations.
    pub handlers: Vec<Arc<dyn OperationHandler>>,
    /// What it has around every execution.
    pub interceptor: Option<Arc<dyn Interceptor>>,
    /// What it serves over HTTP beside operations.
    pub routes: Vec<Route>,
}

impl Started {
    /// A plugin with its operations, and nothing else.
    pub fn new(plugin: Arc<dyn Plugin>, handlers: Vec<Arc<dyn OperationHandler>>) -> Self {
        Self { plugin, handlers, interceptor: None, routes: Vec::new() }
    }

    /// The same with an interceptor.
    #[must_use]
    pub fn with_interceptor(self, interceptor: Arc<dyn Interceptor>) -> Self {
        Self { interceptor: Some(interceptor), ..self }
    }

    /// The same with one more route.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }
}

/// A plugin as it's linked: what `#[skep::plugin]` submits.
pub struct PluginRegistration {
    /// The plugin's name, and that of its table in the configuration.
    pub name: &'static str,
    /// The plugin's doc comment.
    pub summary: &'static str,
    /// The crate it's from.
    pub package: Package,
    /// The names of the plugins that it starts after, where they are linked.
    pub after: &'static [&'static str],
    /// The schema of its configuration.
    pub config_schema: fn() -> Value,
    /// Its operations' specs.
    pub specs: fn() -> Vec<OperationSpec>,
    /// Starts it. The configuration has passed the schema.
    pub start: fn(PluginContext<Value>) -> BoxFuture<'static, Result<Started>>,
}

/// An operation without state as it's linked: what `#[skep::operation]` on a function submits.
pub struct OperationRegistration {
    /// The crate it's from.
    pub package: Package,
    /// Makes its handler.
    pub handler: fn() -> Arc<dyn OperationHandler>,
}

/// A command of the command line that a plugin contributes: `skep NAME ARGUMENT...`.
pub struct CommandRegistration {
    /// The command's name.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// The crate it's from.
    pub package: Package,
    /// Runs it with the arguments that follow its name.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// A store as it's linked: what `--store NAME` or `--store NAME:...` finds.
pub struct StoreRegistration {
    /// The store's name, and that of its table in the configuration, `[plugins.NAME]`.
    pub name: &'static str,
    /// One line: where it keeps things.
    pub summary: &'static str,
    /// The crate it's from.
    pub package: Package,
    /// The schema of its configuration.
    pub config_schema: fn() -> Value,
    /// Opens it.
    pub open: fn(StoreContext) -> Opening,
    /// Looks for damage and changes nothing; says what it looked at. Fails with what it found.
    pub check: fn(StoreContext) -> BoxFuture<'static, Result<String>>,
    /// Copies all into a directory, which isn't there yet, while a server may be using it; says what
    /// it copied.
    pub backup: fn(StoreContext, PathBuf) -> BoxFuture<'static, Result<String>>,
}

/// A store that is being opened.
pub type Opening = BoxFuture<'static, Result<Arc<dyn Store>>>;

/// What a store is opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreContext {
    /// Its table of the configuration, checked against its schema.
    pub config: Value,
    /// What was given as `--store`, whole: `sqlite`, `nats://127.0.0.1:4222`.
    pub address: String,
    /// The server's data directory. It may not be there yet.
    pub data_dir: PathBuf,
    /// The limits of jobs.
    pub jobs: JobsConfig,
}

impl StoreContext {
    /// What store `address` of a server in `data_dir` is opened with, if the configuration says
    /// nothing.
    pub fn new(address: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            config: Value::Object(serde_json::Map::new()),
            address: address.into(),
            data_dir: data_dir.into(),
            jobs: JobsConfig::default(),
        }
    }
}
