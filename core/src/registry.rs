//! The registry: an operation's handler by its name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::admission::OperationLimit;
use crate::operation::{OperationHandler, OperationSpec};
use crate::plugin::Package;
use crate::router::{RouterError, StartError};
use crate::schema::InputSchema;
use crate::suggest::nearest;

/// Every operation of a server. Built once at its start and never changed, so a lookup takes no
/// lock.
#[derive(Default)]
pub(crate) struct Registry {
    operations: BTreeMap<Arc<str>, Arc<Operation>>,
    /// The limits of those that have one.
    limits: Vec<OperationLimit>,
}

/// One operation that is served.
pub(crate) struct Operation {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Arc<dyn OperationHandler>,
    pub(crate) spec: OperationSpec,
    pub(crate) input: InputSchema,
    /// Its own limit of jobs, if it has one: the index in [`Registry::limits`].
    pub(crate) limit: Option<usize>,
    package: Package,
    /// One of [`UNKNOWN`], [`PROMPT`], [`BLOCKING`].
    habit: AtomicU8,
}

/// No job of the operation has returned yet.
const UNKNOWN: u8 = 0;
/// A job has returned, and none has kept its thread.
const PROMPT: u8 = 1;
/// A job has kept its thread.
const BLOCKING: u8 = 2;

impl Registry {
    /// Adds an operation of `package`. `max_queued` is for operations that don't say.
    pub(crate) fn add(
        &mut self,
        handler: Arc<dyn OperationHandler>,
        package: Package,
        max_queued: usize,
    ) -> Result<(), StartError> {
        let spec = handler.spec().clone();
        let invalid = |reason: String| StartError::InvalidSpec {
            operation: spec.name.clone(),
            package,
            reason,
        };
        if !OperationSpec::is_valid_name(&spec.name) {
            return Err(invalid("its name is not snake_case of 1 to 64 characters".to_owned()));
        }
        if let Some(first) = self.operations.get(spec.name.as_str()) {
            return Err(StartError::DuplicateOperation {
                name: spec.name,
                first: first.package,
                second: package,
            });
        }
        let input = InputSchema::compile(&spec.input_schema)
            .map_err(|error| invalid(format!("its input's schema is none: {error}")))?;
        if spec.limits.max_concurrency == Some(0) {
            return Err(invalid("with a `max_concurrency` of 0 it would never run".to_owned()));
        }
        if spec.limits.retry.is_some() && !spec.hints.idempotent {
            return Err(invalid("`retry` is for idempotent operations only".to_owned()));
        }
        let limit = spec.limits.max_concurrency.map(|running| {
            let queued = spec.limits.max_queued.unwrap_or(max_queued);
            self.limits.push(OperationLimit { running, queued });
            self.limits.len() - 1
        });
        let name: Arc<str> = spec.name.as_str().into();
        let operation = Operation {
            name: name.clone(),
            handler,
            spec,
            input,
            limit,
            package,
            habit: AtomicU8::new(UNKNOWN),
        };
        self.operations.insert(name, Arc::new(operation));
        Ok(())
    }

    /// The operation called `name`. One that is hidden isn't there for `clients`.
    pub(crate) fn find(&self, name: &str, clients: bool) -> Result<&Arc<Operation>, RouterError> {
        match self.operations.get(name) {
            Some(operation) if !(clients && operation.spec.hidden) => Ok(operation),
            _ => Err(RouterError::UnknownOperation {
                name: name.chars().take(100).collect(),
                did_you_mean: nearest(name, self.specs().map(|spec| spec.name.as_str()))
                    .map(str::to_owned),
            }),
        }
    }

    /// The limits of the operations that have one.
    pub(crate) fn limits(&self) -> &[OperationLimit] {
        &self.limits
    }

    /// The specs of the operations that aren't hidden, by name.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &OperationSpec> {
        self.operations.values().map(|operation| &operation.spec).filter(|spec| !spec.hidden)
    }
}

impl Operation {
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
