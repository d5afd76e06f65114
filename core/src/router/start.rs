//! A router's start: from what is linked to what is served.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::{Config, JobsConfig};
use crate::gate::Gate;
use crate::plugin::{Linked, Plugin, PluginContext, PluginRegistration, Started};
use crate::registry::Registry;
use crate::router::shutdown::shut_down;
use crate::router::{Inner, MAX_DEPTH, Router, StartError};
use crate::schema::InputSchema;
use crate::store::Store;
use crate::suggest::nearest;

/// How long a plugin's start may take.
const START_PATIENCE: Duration = Duration::from_mins(1);

impl Router {
    /// Starts the plugins of `linked` in their order and serves their operations.
    ///
    /// Jobs run on the tokio runtime that this is called in. On a multi-threaded one a handler that
    /// blocks its thread costs that thread alone; on a current-thread one it stops everything.
    ///
    /// # Errors
    /// [`StartError`]. The plugins that had started by then have been shut down, in reverse.
    pub async fn start(
        config: Config,
        linked: Linked,
        store: Arc<dyn Store>,
    ) -> Result<Self, StartError> {
        check_plugins(&config, &linked)?;
        let mut plugins: Vec<(&'static str, Arc<dyn Plugin>)> = Vec::new();
        match start_all(&config, &linked, &mut plugins).await {
            Ok(registry) => Ok(Self {
                inner: Arc::new(Inner {
                    registry,
                    plugins,
                    store,
                    gate: Gate::new(config.jobs.max_running, config.jobs.max_queued),
                    calls: Gate::new(max_calls(&config.jobs), 0),
                    config: config.jobs,
                    live: Mutex::default(),
                    tasks: TaskTracker::new(),
                }),
            }),
            Err(error) => {
                shut_down(&plugins).await;
                Err(error)
            }
        }
    }
}

/// How many jobs that others called there may be: a call of every depth for each job that runs, and
/// as many more as may wait.
fn max_calls(jobs: &JobsConfig) -> usize {
    jobs.max_running.saturating_mul(MAX_DEPTH).saturating_add(jobs.max_queued)
}

/// What can be known to be wrong before anything has started.
fn check_plugins(config: &Config, linked: &Linked) -> Result<(), StartError> {
    for (at, second) in linked.plugins.iter().enumerate() {
        if let Some(first) = linked.plugins[..at].iter().find(|first| first.name == second.name) {
            return Err(StartError::DuplicatePlugin {
                name: second.name,
                first: first.package,
                second: second.package,
            });
        }
    }
    let names = || linked.plugins.iter().map(|plugin| plugin.name);
    for name in config.plugins.keys() {
        if !names().any(|known| known == name) {
            return Err(StartError::UnknownPlugin {
                name: name.clone(),
                did_you_mean: nearest(name, names()).map(str::to_owned),
            });
        }
    }
    linked.plugins.iter().try_for_each(|plugin| check_config(plugin, &table(config, plugin)))
}

fn check_config(plugin: &PluginRegistration, table: &Value) -> Result<(), StartError> {
    let failed =
        |reason| StartError::PluginFailed { plugin: plugin.name, package: plugin.package, reason };
    let schema = InputSchema::compile(&(plugin.config_schema)()).map_err(failed)?;
    schema.check(table).map_err(|errors| StartError::InvalidConfig { plugin: plugin.name, errors })
}

/// A plugin's table; an empty one if the configuration has none.
fn table(config: &Config, plugin: &PluginRegistration) -> Value {
    config.plugins.get(plugin.name).cloned().unwrap_or_else(|| json!({}))
}

/// Starts the plugins one by one, so that `started` has those to shut down when one fails.
async fn start_all(
    config: &Config,
    linked: &Linked,
    started: &mut Vec<(&'static str, Arc<dyn Plugin>)>,
) -> Result<Registry, StartError> {
    let mut registry = Registry::default();
    let max_queued = config.jobs.max_queued;
    for operation in &linked.operations {
        registry.add((operation.handler)(), operation.package, max_queued)?;
    }
    for registration in &linked.plugins {
        let Started { plugin, handlers } = start(config, registration).await?;
        started.push((registration.name, plugin));
        for handler in handlers {
            registry.add(handler, registration.package, max_queued)?;
        }
    }
    Ok(registry)
}

async fn start(config: &Config, plugin: &PluginRegistration) -> Result<Started, StartError> {
    let data_dir = config.data_dir.join(plugin.name);
    let context = PluginContext::new(table(config, plugin), data_dir);
    let starting = std::panic::AssertUnwindSafe((plugin.start)(context)).catch_unwind();
    let reason = match timeout(START_PATIENCE, starting).await {
        Ok(Ok(Ok(started))) => return Ok(started),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) => "it panicked".to_owned(),
        Err(_) => format!("it took longer than {START_PATIENCE:?}"),
    };
    Err(StartError::PluginFailed { plugin: plugin.name, package: plugin.package, reason })
}
