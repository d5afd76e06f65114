//! The registry: an operation's handler by its name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;
use wildmatch::WildMatch;

use crate::admission::{Admission, OperationLimit};
use crate::metrics::OperationMetrics;
use crate::operation::{OperationHandler, OperationSpec};
use crate::plugin::Package;
use crate::router::{RouterError, StartError};
use crate::schema::InputSchema;
use crate::suggest::nearest;

/// Every operation of a server.
///
/// What is served is an immutable map, so that a lookup takes no lock. Where a plugin's set of
/// operations changes, a new map takes its place; jobs that run hold the operation that they began
/// with.
pub(crate) struct Registry {
    served: ArcSwap<Operations>,
    /// Held while a new map is made from the one that is served.
    changes: Mutex<()>,
    denied: Vec<Denied>,
    admission: Arc<Admission>,
    /// For operations that don't say how many of their jobs may wait.
    max_queued: usize,
}

type Operations = HashMap<Arc<str>, Arc<Operation>>;

/// A pattern of names that aren't served.
struct Denied {
    pattern: WildMatch,
    is_used: AtomicBool,
}

/// One operation that is served.
pub(crate) struct Operation {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Arc<dyn OperationHandler>,
    pub(crate) spec: Arc<OperationSpec>,
    input: InputSchema,
    /// Its own limit of jobs, if it has one: its index in [`Admission`].
    pub(crate) limit: Option<usize>,
    owner: Owner,
    /// One of [`UNKNOWN`], [`PROMPT`], [`BLOCKING`].
    habit: AtomicU8,
    metrics: OnceLock<OperationMetrics>,
}

/// Whose an operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The program itself, whose operations go before linked ones of their names.
    Program,
    /// A crate that is linked.
    Linked(Package),
    /// The changing set of a plugin, by its name, in a crate.
    Set(&'static str, Package),
}

impl Owner {
    fn package(self) -> Package {
        match self {
            Self::Program => Package::new("this program", ""),
            Self::Linked(package) | Self::Set(_, package) => package,
        }
    }
}

/// No job of the operation has returned yet.
const UNKNOWN: u8 = 0;
/// A job has returned, and none has kept its thread.
const PROMPT: u8 = 1;
/// A job has kept its thread.
const BLOCKING: u8 = 2;

impl Registry {
    /// One without operations, that will have none whose name matches a pattern of `denied`.
    pub(crate) fn new(denied: &[String], admission: Arc<Admission>, max_queued: usize) -> Self {
        let denied = denied.iter().map(|pattern| Denied {
            pattern: WildMatch::new(pattern),
            is_used: AtomicBool::new(false),
        });
        Self {
            served: ArcSwap::default(),
            changes: Mutex::default(),
            denied: denied.collect(),
            admission,
            max_queued,
        }
    }

    /// Adds operations: all of them, or none.
    pub(crate) fn add(
        &self,
        owner: Owner,
        handlers: impl IntoIterator<Item = Arc<dyn OperationHandler>>,
    ) -> Result<(), StartError> {
        self.change(|served| self.insert(served, owner, handlers))
    }

    /// Puts operations in the place of all that `owner` had: all of them, or none.
    pub(crate) fn replace(
        &self,
        owner: Owner,
        handlers: Vec<Arc<dyn OperationHandler>>,
    ) -> Result<(), StartError> {
        self.change(|served| {
            served.retain(|_, operation| operation.owner != owner);
            self.insert(served, owner, handlers)
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Operations) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        // What is half done is not served, so a panic in between has no effect.
        let _changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut served = Operations::clone(&self.served.load());
        change(&mut served)?;
        // Nothing can refuse the change any more.
        for operation in served.values() {
            if let Some((at, limit)) = operation.limit.zip(self.limit(&operation.spec)) {
                self.admission.limit(at, limit);
            }
        }
        self.served.store(Arc::new(served));
        Ok(())
    }

    fn insert(
        &self,
        served: &mut Operations,
        owner: Owner,
        handlers: impl IntoIterator<Item = Arc<dyn OperationHandler>>,
    ) -> Result<(), StartError> {
        for handler in handlers {
            if self.denies(&handler.spec().name) {
                continue;
            }
            let operation = self.operation(handler, owner)?;
            match served.get(&operation.name) {
                Some(first) if first.owner == Owner::Program && owner != Owner::Program => continue,
                Some(first) => {
                    return Err(StartError::DuplicateOperation {
                        name: operation.name.as_ref().to_owned(),
                        first: first.owner.package(),
                        second: owner.package(),
                    });
                }
                None => {}
            }
            served.insert(operation.name.clone(), Arc::new(operation));
        }
        Ok(())
    }

    /// An operation that can be served.
    fn operation(
        &self,
        handler: Arc<dyn OperationHandler>,
        owner: Owner,
    ) -> Result<Operation, StartError> {
        let spec = Arc::new(handler.spec().clone());
        let invalid = |reason: String| StartError::InvalidSpec {
            operation: spec.name.clone(),
            package: owner.package(),
            reason,
        };
        if !OperationSpec::is_valid_name(&spec.name) {
            return Err(invalid("its name is not snake_case of 1 to 64 characters".to_owned()));
        }
        let input = InputSchema::compile(&spec.input_schema)
            .map_err(|error| invalid(format!("its input's schema is none: {error}")))?;
        if spec.limits.max_concurrency == Some(0) {
            return Err(invalid("with a `max_concurrency` of 0 it would never run".to_owned()));
        }
        if spec.limits.retry.is_some() && !spec.hints.idempotent {
            return Err(invalid("`retry` is for idempotent operations only".to_owned()));
        }
        let name: Arc<str> = spec.name.as_str().into();
        let limit = self.limit(&spec).map(|limit| self.admission.operation(&name, limit));
        Ok(Operation {
            name,
            handler,
            spec,
            input,
            limit,
            owner,
            habit: AtomicU8::new(UNKNOWN),
            metrics: OnceLock::new(),
        })
    }

    /// The limit of an operation's jobs, if it has one of its own.
    fn limit(&self, spec: &OperationSpec) -> Option<OperationLimit> {
        let running = spec.limits.max_concurrency?;
        let queued = spec.limits.max_queued.unwrap_or(self.max_queued);
        Some(OperationLimit { running, queued })
    }

    /// Whether the configuration has it that there's no operation of this name.
    pub(crate) fn denies(&self, name: &str) -> bool {
        let matching = self.denied.iter().filter(|denied| denied.pattern.matches(name));
        matching.fold(false, |_, denied| {
            denied.is_used.store(true, Ordering::Relaxed);
            true
        })
    }

    /// The patterns of denied names that have met no operation yet.
    pub(crate) fn idle_denials(&self) -> impl Iterator<Item = String> {
        let idle = self.denied.iter().filter(|denied| !denied.is_used.load(Ordering::Relaxed));
        idle.map(|denied| denied.pattern.pattern())
    }

    /// The operation called `name`. One that is hidden isn't there for `clients`.
    pub(crate) fn find(&self, name: &str, clients: bool) -> Result<Arc<Operation>, RouterError> {
        match self.served.load().get(name) {
            Some(operation) if !(clients && operation.spec.hidden) => Ok(operation.clone()),
            _ => Err(RouterError::UnknownOperation {
                name: name.chars().take(100).collect(),
                did_you_mean: nearest(name, self.specs().iter().map(|spec| spec.name.as_str()))
                    .map(str::to_owned),
            }),
        }
    }

    /// The specs of the operations that aren't hidden, by name.
    pub(crate) fn specs(&self) -> Vec<Arc<OperationSpec>> {
        let served = self.served.load();
        let specs = served.values().map(|operation| &operation.spec);
        let mut specs: Vec<_> = specs.filter(|spec| !spec.hidden).cloned().collect();
        specs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        specs
    }
}

impl Operation {
    /// Holds `input` against the schema.
    pub(crate) fn check(&self, input: &Value) -> Result<(), RouterError> {
        self.input
            .check(input)
            .map_err(|errors| RouterError::InvalidInput { operation: self.name.clone(), errors })
    }

    /// What is counted of its jobs, from the first one on.
    pub(crate) fn metrics(&self) -> &OperationMetrics {
        self.metrics.get_or_init(|| OperationMetrics::new(&self.name))
    }

    /// Whether its handler has been seen to come back to the runtime promptly.
    pub(crate) fn is_prompt(&self) -> bool {
        self.habit.load(Ordering::Relaxed) == PROMPT
    }

    /// Its handler has returned. That changes nothing for one that has been seen to block.
    pub(crate) fn mark_prompt(&self) {
        let _ = self.habit.compare_exchange(UNKNOWN, PROMPT, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Its handler blocks its thread. Returns whether that is news.
    pub(crate) fn mark_blocking(&self) -> bool {
        self.habit.swap(BLOCKING, Ordering::Relaxed) != BLOCKING
    }
}
