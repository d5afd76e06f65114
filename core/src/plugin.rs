//! Plugins: crates that contribute operations, and how they get into a server.
//!
//! A plugin's life, in order:
//!
//! 1. *Register*: linking the crate is enough. `#[skep::plugin]` and `#[skep::operation]` hand a
//!    [`PluginRegistration`] or an [`OperationRegistration`] to [`inventory`], which collects them
//!    before `main`. [`Linked`] is what has been collected.
//! 2. *Configure*: the plugin's table of the configuration, `[plugins.NAME]`, is checked against
//!    the schema of its config type.
//! 3. *Start*: the plugin's `start` makes its state. If it fails, the server doesn't start.
//! 4. *Serve*: its operations are called; [`Plugin::health`] is asked by `/readyz`.
//! 5. *Shut down*: when no job runs any more, [`Plugin::shutdown`] is called, in the reverse order
//!    of the starts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::JobsConfig;
use crate::error::{OperationError, Result};
use crate::operation::{OperationHandler, OperationSpec};
use crate::store::{Documents, Store};

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

/// What a plugin's `start` is given.
#[non_exhaustive]
pub struct PluginContext<C = NoConfig> {
    /// The plugin's configuration.
    pub config: C,
    data_dir: PathBuf,
    documents: Documents,
}

impl<C> PluginContext<C> {
    pub(crate) fn new(config: C, data_dir: PathBuf, documents: Documents) -> Self {
        Self { config, data_dir, documents }
    }

    /// The plugin's documents: what it has to remember beyond a restart, without a database of its
    /// own.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The plugin's own directory, made if it isn't there yet.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn data_dir(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.data_dir).map_err(|error| {
            let path = self.data_dir.display();
            OperationError::message(format!("can't make the directory {path}: {error}"))
        })?;
        Ok(&self.data_dir)
    }
}

impl PluginContext<Value> {
    /// The context with the configuration read into its type; `#[skep::plugin]` calls it.
    ///
    /// # Errors
    /// If the configuration isn't a `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Result<PluginContext<T>> {
        let config = serde_json::from_value(self.config)?;
        Ok(PluginContext { config, data_dir: self.data_dir, documents: self.documents })
    }
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
}

impl Package {
    /// A crate by its name and version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A plugin that has started, with its operations' handlers.
pub struct Started {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its operations.
    pub handlers: Vec<Arc<dyn OperationHandler>>,
}

/// A plugin as it's linked: what `#[skep::plugin]` submits.
pub struct PluginRegistration {
    /// The plugin's name, and that of its table in the configuration.
    pub name: &'static str,
    /// The plugin's doc comment.
    pub summary: &'static str,
    /// The crate it's from.
    pub package: Package,
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

inventory::collect!(StoreRegistration);
inventory::collect!(PluginRegistration);
inventory::collect!(OperationRegistration);
inventory::collect!(CommandRegistration);

/// What has been linked into this program, or a selection of one's own.
///
/// A crate that is a dependency but is never named is not linked: the linker drops it. `use
/// my_plugin as _;` names it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Linked {
    /// The plugins, by name.
    pub plugins: Vec<&'static PluginRegistration>,
    /// The operations without state, in no particular order.
    pub operations: Vec<&'static OperationRegistration>,
}

impl Linked {
    /// All that is linked into this program.
    pub fn all() -> Self {
        let mut plugins: Vec<_> = inventory::iter::<PluginRegistration>().collect();
        // The linker's order is nobody's wish; a start in the order of names is at least the same
        // on every machine.
        plugins.sort_by_key(|plugin| (plugin.name, plugin.package.name));
        Self { plugins, operations: inventory::iter::<OperationRegistration>().collect() }
    }

    /// The stores that plugins contribute, by name.
    pub fn stores() -> Vec<&'static StoreRegistration> {
        let mut stores: Vec<_> = inventory::iter::<StoreRegistration>().collect();
        stores.sort_by_key(|store| store.name);
        stores
    }

    /// The commands that plugins contribute, by name.
    pub fn commands() -> Vec<&'static CommandRegistration> {
        let mut commands: Vec<_> = inventory::iter::<CommandRegistration>().collect();
        commands.sort_by_key(|command| command.name);
        commands
    }
}
