//! A router's start: from what is linked to what is served.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{info, warn};

use crate::admission::{Admission, Limits};
use crate::config::{Config, JobsConfig};
use crate::job::Flusher;
use crate::plugin::{
    Linked, OperationSet, OwnedTasks, PluginContext, PluginRegistration, Server, Started, Tasks,
    in_order,
};
use crate::registry::{Owner, Registry};
use crate::router::retention::sweep_forever;
use crate::router::shutdown::shut_down;
use crate::router::{Inner, MAX_DEPTH, PLUGIN_PATIENCE, Router, RouterHandle, Running, StartError};
use crate::schema::{InputError, InputSchema};
use crate::store::{Documents, Store};
use crate::suggest::nearest;

/// How long a plugin's start may take.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// The key of a plugin's table that isn't the plugin's own.
const ENABLED: &str = "enabled";

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
        let selected = select(&config, &linked)?;
        let admission = Admission::new(limits(&config.jobs));
        let (denied, max_queued) = (&config.operations.deny, config.jobs.max_queued);
        let registry = Arc::new(Registry::new(denied, admission.clone(), max_queued));
        let handle = RouterHandle::default();
        let mut starting = Starting {
            config: &config,
            store: &store,
            registry: &registry,
            router: &handle,
            plugins: Vec::new(),
        };
        if let Err(error) = starting.start_all(&linked, selected).await {
            handle.close();
            shut_down(&starting.plugins).await;
            return Err(error);
        }
        let plugins = starting.plugins;
        let flusher = Arc::new(Flusher::default());
        let router = Self {
            inner: Arc::new(Inner {
                admission,
                registry,
                plugins,
                store,
                config: config.jobs,
                alone: Arc::new(Semaphore::new(1)),
                live: Mutex::default(),
                unfinished: TaskTracker::new(),
                runtime: Handle::current(),
                left: CancellationToken::new(),
                _flushing: AbortOnDropHandle::new(tokio::spawn(flusher.clone().run())),
                flusher,
            }),
        };
        // Before the jobs that go on: their handlers may ask for it.
        handle.set(&router);
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

/// The plugins that are to run, in the order of their starts, with their tables. Fails with all that
/// can be known to be wrong before anything has started.
fn select(config: &Config, linked: &Linked) -> Result<Vec<Selected>, StartError> {
    let mut errors = Vec::new();
    for (at, second) in linked.plugins.iter().enumerate() {
        if let Some(first) = linked.plugins[..at].iter().find(|first| first.name == second.name) {
            errors.push(StartError::DuplicatePlugin {
                name: second.name,
                first: first.package,
                second: second.package,
            });
        }
    }
    let names = || linked.plugins.iter().map(|plugin| plugin.name);
    for name in config.plugins.keys() {
        if !names().any(|known| known == name) {
            errors.push(StartError::UnknownPlugin {
                name: name.clone(),
                did_you_mean: nearest(name, names()).map(str::to_owned),
            });
        }
    }
    let mut selected = Vec::new();
    for plugin in &linked.plugins {
        match Selected::read(plugin, config.plugins.get(plugin.name)) {
            Ok(plugin) => selected.push(plugin),
            Err(error) => errors.push(error),
        }
    }
    let enabled = selected.iter().filter(|one| one.is_enabled).map(|one| one.plugin);
    match in_order(&enabled.collect::<Vec<_>>()) {
        // Those that aren't enabled are in no order, and come last.
        Ok(order) => selected.sort_by_key(|one| {
            order.iter().position(|plugin| plugin.name == one.plugin.name).unwrap_or(usize::MAX)
        }),
        Err(error) => errors.push(error),
    }
    match errors.len() {
        0 => Ok(selected),
        1 => Err(errors.remove(0)),
        _ => Err(StartError::Several(errors)),
    }
}

/// A plugin and its table of the configuration.
struct Selected {
    plugin: &'static PluginRegistration,
    is_enabled: bool,
    table: Value,
}

impl Selected {
    /// Takes out of the plugin's table what isn't the plugin's own, and checks the rest.
    fn read(
        plugin: &'static PluginRegistration,
        table: Option<&Value>,
    ) -> Result<Self, StartError> {
        let failed = |reason| StartError::PluginFailed {
            plugin: plugin.name,
            package: plugin.package,
            reason,
        };
        let mut table = table.cloned().unwrap_or_else(|| json!({}));
        let enabled = table.as_object_mut().and_then(|table| table.remove(ENABLED));
        // What isn't used needn't be complete.
        if enabled == Some(Value::Bool(false)) {
            return Ok(Self { plugin, is_enabled: false, table });
        }
        let schema = InputSchema::compile(&(plugin.config_schema)()).map_err(failed)?;
        let mut errors = schema.check(&table).err().unwrap_or_default();
        let is_enabled = enabled.unwrap_or(Value::Bool(true)) == Value::Bool(true);
        if !is_enabled {
            errors.push(InputError::new(format!("/{ENABLED}"), "is true or false"));
        }
        if errors.is_empty() {
            return Ok(Self { plugin, is_enabled, table });
        }
        Err(StartError::InvalidConfig { plugin: plugin.name, errors })
    }
}

/// A start that is under way: what the plugins are given, and those that have started.
struct Starting<'a> {
    config: &'a Config,
    store: &'a Arc<dyn Store>,
    registry: &'a Arc<Registry>,
    router: &'a RouterHandle,
    /// Those to shut down when a later one fails.
    plugins: Vec<Running>,
}

impl Starting<'_> {
    async fn start_all(
        &mut self,
        linked: &Linked,
        selected: Vec<Selected>,
    ) -> Result<(), StartError> {
        self.registry.add(Owner::Program, linked.handlers.iter().cloned())?;
        for operation in &linked.operations {
            self.registry.add(Owner::Linked(operation.package), [(operation.handler)()])?;
        }
        for Selected { plugin, is_enabled, table } in selected {
            if is_enabled {
                self.start(plugin, table).await?;
                continue;
            }
            info!("plugin `{}` is linked, and not enabled", plugin.name);
            // Who denies what isn't even there has made no mistake.
            for spec in (plugin.specs)() {
                self.registry.denies(&spec.name);
            }
        }
        // What is misspelt is served though it's meant not to be. Other names may come later, from a
        // set that changes.
        for pattern in self.registry.idle_denials() {
            let specs = self.registry.specs();
            let near = nearest(&pattern, specs.iter().map(|spec| spec.name.as_str()));
            if let Some(near) = near.map(str::to_owned) {
                return Err(StartError::DeniesNothing { pattern, did_you_mean: near });
            }
            warn!("[operations] deny: no operation of this server is called `{pattern}` now");
        }
        Ok(())
    }

    async fn start(
        &mut self,
        registration: &'static PluginRegistration,
        table: Value,
    ) -> Result<(), StartError> {
        let &PluginRegistration { name, package, .. } = registration;
        let tasks = OwnedTasks(Tasks::new(name));
        let server = Server {
            data_dir: self.config.data_dir.join(name),
            documents: Documents::new(self.store.clone(), name),
            operations: OperationSet {
                registry: self.registry.clone(),
                owner: Owner::Set(name, package),
            },
            router: self.router.clone(),
            tasks: tasks.0.clone(),
        };
        let context = PluginContext::new(table, server);
        let starting = AssertUnwindSafe((registration.start)(context)).catch_unwind();
        let reason = match timeout(START_PATIENCE, starting).await {
            Ok(Ok(Ok(Started { plugin, handlers, interceptor, routes }))) => {
                self.plugins.push(Running { name, plugin, interceptor, routes, tasks });
                return self.registry.add(Owner::Linked(package), handlers);
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "it panicked".to_owned(),
            Err(_) => format!("it took longer than {START_PATIENCE:?}"),
        };
        self.router.close();
        tasks.0.stop(PLUGIN_PATIENCE).await;
        Err(StartError::PluginFailed { plugin: name, package, reason })
    }
}
