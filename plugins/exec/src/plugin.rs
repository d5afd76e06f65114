//! The plugin: what it serves at the start, and what later.

use std::collections::BTreeMap;
use std::path::absolute;
use std::sync::Arc;

use skep::plugin::{Linked, OperationSet};
use skep::prelude::*;
use skep::{OperationHandler, StartError};
use tracing::{info, warn};

use crate::config::Config;
use crate::folder::{Folder, Found};
use crate::lifeline::Lifeline;
use crate::operation::ExecOperation;

/// What it has is in the server's set of operations and in a background task.
struct Exec;

/// Operations that are programs, declared in the configuration or found in a folder.
#[skep::plugin(name = "exec", config = Config)]
impl Exec {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let lifeline = Arc::new(Lifeline::default());
        let declared = declared(&cx.config, &lifeline)?;
        let served = Served { set: cx.operations().clone(), declared };
        let Some(dir) = &cx.config.dir else {
            served.offer(Vec::new())?;
            return Ok(Self);
        };
        let opened = match absolute(dir) {
            Ok(path) => Folder::open(path, lifeline).await,
            Err(error) => Err(error),
        };
        let mut folder = opened.map_err(|error| {
            let dir = dir.display();
            OperationError::message(format!("`dir`: the folder `{dir}` can't be read: {error}"))
        })?;
        served.offer(folder.operations())?;
        let stop = cx.shutdown();
        cx.spawn(async move {
            let keep_up = async {
                loop {
                    folder.changed().await;
                    if let Err(error) = served.offer(folder.operations()) {
                        let path = folder.path().display();
                        warn!("{path} has changed, what was served before stays: {error}");
                    }
                }
            };
            tokio::select! {
                () = keep_up => {}
                () = stop.requested() => {}
            }
        });
        Ok(Self)
    }
}

/// The operations of the configuration. Fails with all that is wrong with any of them.
fn declared(config: &Config, lifeline: &Arc<Lifeline>) -> Result<Vec<Arc<ExecOperation>>> {
    let base = std::env::current_dir()?;
    let (mut operations, mut errors) = (Vec::new(), Vec::new());
    for (name, declaration) in &config.operations {
        match ExecOperation::new(name, declaration.clone(), &base, lifeline.clone()) {
            Ok(operation) => operations.push(Arc::new(operation)),
            Err(error) => errors.push(format!("[plugins.exec.operations.{name}] {error}")),
        }
    }
    if errors.is_empty() { Ok(operations) } else { Err(OperationError::message(errors.join("; "))) }
}

/// What is served, whatever the folder has, and where.
struct Served {
    set: OperationSet,
    declared: Vec<Arc<ExecOperation>>,
}

impl Served {
    /// Serves what is declared and what was found. A file that can't be served is left out.
    fn offer(&self, found: Vec<Found>) -> Result<(), StartError> {
        let mut found = self.without_clashes(found);
        loop {
            let declared = self.declared.iter().cloned();
            let all = declared.chain(found.iter().map(|found| found.operation.clone()));
            let all = all.map(|operation| operation as Arc<dyn OperationHandler>).collect();
            let error = match self.set.replace(all) {
                Ok(()) => break,
                Err(error) => error,
            };
            // What is wrong with a name or a schema, and what others serve by now, core knows.
            let (StartError::DuplicateOperation { name, .. }
            | StartError::InvalidSpec { operation: name, .. }) = &error
            else {
                return Err(error);
            };
            let Some(at) = found.iter().position(|found| found.name() == name) else {
                return Err(error);
            };
            let left_out = found.remove(at);
            warn!("{} is left out: {error}", left_out.file);
        }
        if !found.is_empty() {
            let names: Vec<_> = found.iter().map(Found::name).collect();
            info!("serving from the folder: {}", names.join(", "));
        }
        Ok(())
    }

    /// Leaves out those whose name is taken: by the configuration, by another file, or by a crate that
    /// may not have started yet, which would then not start because of a file.
    fn without_clashes(&self, mut found: Vec<Found>) -> Vec<Found> {
        let linked = Linked::all();
        let mut taken = BTreeMap::new();
        for operation in &linked.operations {
            let name = (operation.handler)().spec().name.clone();
            taken.insert(name, operation.package.to_string());
        }
        for plugin in &linked.plugins {
            let names = (plugin.specs)().into_iter().map(|spec| spec.name);
            taken.extend(names.map(|name| (name, plugin.package.to_string())));
        }
        for declared in &self.declared {
            taken.insert(declared.spec().name.clone(), "the configuration".to_owned());
        }
        found.retain(|found| {
            let name = found.name();
            if let Some(by) = taken.get(name) {
                warn!("{} is left out: `{name}` is an operation of {by}", found.file);
                return false;
            }
            taken.insert(name.to_owned(), found.file.clone());
            true
        });
        found
    }
}

impl Found {
    /// Its operation's name.
    fn name(&self) -> &str {
        &self.operation.spec().name
    }
}
