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

use crate::error::{OperationError, Result};
use crate::operation::{OperationHandler, OperationSpec};

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
#[derive(Debug)]
#[non_exhaustive]
pub struct PluginContext<C = Value> {
    /// The plugin's configuration.
    pub config: C,
    data_dir: PathBuf,
}

impl<C> PluginContext<C> {
    pub(crate) fn new(config: C, data_dir: PathBuf) -> Self {
        Self { config, data_dir }
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

impl PluginContext {
    /// The context with the configuration read into its type; `#[skep::plugin]` calls it.
    ///
    /// # Errors
    /// If the configuration isn't a `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Result<PluginContext<T>> {
        let config = serde_json::from_value(self.config)?;
        Ok(PluginContext { config, data_dir: self.data_dir })
    }
}

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
    pub start: fn(PluginContext) -> BoxFuture<'static, Result<Started>>,
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

    /// The commands that plugins contribute, by name.
    pub fn commands() -> Vec<&'static CommandRegistration> {
        let mut commands: Vec<_> = inventory::iter::<CommandRegistration>().collect();
        commands.sort_by_key(|command| command.name);
        commands
    }
}
