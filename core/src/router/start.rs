//! A router's start: from what is linked to what is served.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Limits};
use crate::config::{Config, JobsConfig};
use crate::plugin::{Linked, Plugin, PluginContext, PluginRegistration, Started};
use crate::registry::Registry;
use crate::router::retention::sweep_forever;
use crate::router::shutdown::shut_down;
use crate::router::{Inner, MAX_DEPTH, Router, StartError};
use crate::schema::InputSchema;
use crate::store::{Documents, Store};
use crate::suggest::nearest;

/// How long a plugin's start may take.
const START_PATIENCE: Duration = Duration::from_mins(1);

impl Router {
    /// Starts the plugins of `linked` in their order, serves their operations, and goes on with the
    /// jobs that `store` has from a process before this one.
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
        let registry = match start_all(&config, &linked, &store, &mut plugins).await {
            Ok(registry) => registry,
            Err(error) => {
                shut_down(&plugins).await;
                return Err(error);
            }
        };
        let router = Self {
            inner: Arc::new(Inner {
                admission: Admission::new(limits(&config.jobs), registry.limits()),
                registry,
                plugins,
                store,
                config: config.jobs,
                alone: Arc::new(Semaphore::new(1)),
                live: Mutex::default(),
                tasks: TaskTracker::new(),
                left: CancellationToken::new(),
            }),
        };
        if let Err(error) = router.recover().await {
            router.shutdown(Duration::ZERO).await;
            return Err(error);
        }
        tokio::spawn(sweep_forever(Arc::downgrade(&router.inner)));
        Ok(router)
    }
}

/// What all jobs may take. Of called ones there may be a call of every depth for each job that runs,
/// and as many more as may wait.
fn limits(jobs: &JobsConfig) -> Limits {
    Limits {
        running: jobs.max_running,
        queued: jobs.max_queued,
        queued_input: jobs.max_queued_input.as_u64(),
        called: jobs.max_running.saturating_mul(MAX_DEPTH).saturating_add(jobs.max_queued),
    }
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
    store: &Arc<dyn Store>,
    started: &mut Vec<(&'static str, Arc<dyn Plugin>)>,
) -> Result<Registry, StartError> {
    let mut registry = Registry::default();
    let max_queued = config.jobs.max_queued;
    for operation in &linked.operations {
        registry.add((operation.handler)(), operation.package, max_queued)?;
    }
    for registration in &linked.plugins {
        let Started { plugin, handlers } = start(config, registration, store).await?;
        started.push((registration.name, plugin));
        for handler in handlers {
            registry.add(handler, registration.package, max_queued)?;
        }
    }
    Ok(registry)
}

async fn start(
    config: &Config,
    plugin: &PluginRegistration,
    store: &Arc<dyn Store>,
) -> Result<Started, StartError> {
    let data_dir = config.data_dir.join(plugin.name);
    let documents = Documents::new(store.clone(), plugin.name);
    let context = PluginContext::new(table(config, plugin), data_dir, documents);
    let starting = std::panic::AssertUnwindSafe((plugin.start)(context)).catch_unwind();
    let reason = match timeout(START_PATIENCE, starting).await {
        Ok(Ok(Ok(started))) => return Ok(started),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) => "it panicked".to_owned(),
        Err(_) => format!("it took longer than {START_PATIENCE:?}"),
    };
    Err(StartError::PluginFailed { plugin: plugin.name, package: plugin.package, reason })
}
