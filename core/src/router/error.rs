//! Why a router refuses a request, or doesn't start.

use std::sync::Arc;
use std::time::Duration;

use crate::job::JobId;
use crate::plugin::Package;
use crate::problem::{Code, Problem};
use crate::schema::InputError;
use crate::store::StoreError;

/// Why the router did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// No operation of that name.
    #[error("no operation is called `{name}`{}", hint(.did_you_mean.as_deref()))]
    UnknownOperation {
        /// The name that was asked for.
        name: String,
        /// The nearest name there is, if one is near.
        did_you_mean: Option<String>,
    },
    /// The input breaks the operation's schema.
    #[error("the input does not fit `{operation}`: {}", list(.errors))]
    InvalidInput {
        /// The operation.
        operation: Arc<str>,
        /// All that is wrong.
        errors: Vec<InputError>,
    },
    /// A job that may be run again was to be rerouted to an operation that may not.
    #[error(
        "`{from}` is idempotent and `{to}` is not: a job of the one can't be rerouted to the other"
    )]
    NotIdempotent {
        /// The job's operation.
        from: Arc<str>,
        /// Where it was to go.
        to: Arc<str>,
    },
    /// An interceptor refused the job.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// As many jobs wait as may.
    #[error("too many jobs wait already to take one more of `{operation}`")]
    TooManyJobs {
        /// The operation.
        operation: Arc<str>,
        /// When there may be room, by how fast places in the queue have fallen free lately.
        retry_after: Duration,
    },
    /// The idempotency key belongs to a job that is another, or no longer kept.
    #[error("{0}")]
    KeyTaken(String),
    /// No job of that id, or it's no longer kept.
    #[error("there is no job {0}, or it is no longer kept")]
    UnknownJob(JobId),
    /// The job has ended.
    #[error("job {0} has ended")]
    JobEnded(JobId),
    /// The call would go in a circle.
    #[error("the call goes in a circle: {0}")]
    CallCycle(String),
    /// The call is nested too deeply.
    #[error("calls are nested more than 16 deep: {0}")]
    CallDepth(String),
    /// The server is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RouterError {
    /// What a client is told.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Refused(problem) => return problem.clone(),
            Self::UnknownOperation { .. } => Code::UnknownOperation,
            Self::InvalidInput { .. } => Code::InvalidInput,
            Self::TooManyJobs { .. } => Code::TooManyJobs,
            Self::UnknownJob(_) => Code::UnknownJob,
            Self::JobEnded(_) | Self::KeyTaken(_) => Code::Conflict,
            Self::CallCycle(_) => Code::CallCycle,
            Self::CallDepth(_) => Code::CallDepth,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Store(_) => Code::StoreUnavailable,
            Self::NotIdempotent { .. } => Code::Internal,
        };
        let detail = match self {
            Self::Store(StoreError::Unavailable(_)) => {
                "the store is not available; the server's log says why".to_owned()
            }
            _ => self.to_string(),
        };
        let problem = Problem::new(code, detail);
        match (self, self.retry_after()) {
            (Self::UnknownOperation { did_you_mean: Some(name), .. }, _) => {
                problem.with("did_you_mean", name.as_str())
            }
            (Self::InvalidInput { errors, .. }, _) => {
                problem.with("errors", serde_json::json!(errors))
            }
            (_, Some(after)) => problem.with("retry_after", after.as_secs_f64()),
            _ => problem,
        }
    }

    /// When the same request may do better, if that is a matter of time.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after(),
            Self::TooManyJobs { retry_after, .. } => Some(*retry_after),
            Self::Store(_) | Self::ShuttingDown => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The jobs that another process left could not be read.
    #[error("the jobs that had not ended can't be taken over: {0}")]
    Store(StoreError),
    /// Two crates have an operation of the same name.
    #[error(
        "operation `{name}` is registered twice, by {first} and by {second}: leave one of the two \
         crates out"
    )]
    DuplicateOperation {
        /// The operation's name.
        name: String,
        /// The crate that was there first.
        first: Package,
        /// The other one.
        second: Package,
    },
    /// Plugins start after each other in a circle.
    #[error("plugins start after each other in a circle: {0}; take one `after` out")]
    PluginCycle(String),
    /// A pattern of operations that are not to be served names none, and is nearly the name of one that
    /// is served.
    #[error(
        "[operations] deny: no operation of this server is called `{pattern}`, did you mean \
         `{did_you_mean}`?"
    )]
    DeniesNothing {
        /// The pattern.
        pattern: String,
        /// The nearest operation's name.
        did_you_mean: String,
    },
    /// More than one thing is wrong, each of which is told.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<StartError>),
    /// Two crates have a plugin of the same name.
    #[error(
        "plugin `{name}` is registered twice, by {first} and by {second}: leave one of the two \
         crates out"
    )]
    DuplicatePlugin {
        /// The plugin's name.
        name: &'static str,
        /// The crate that was there first.
        first: Package,
        /// The other one.
        second: Package,
    },
    /// An operation's description can't be used.
    #[error("operation `{operation}` of {package}: {reason}")]
    InvalidSpec {
        /// The operation's name.
        operation: String,
        /// Its crate.
        package: Package,
        /// What is wrong.
        reason: String,
    },
    /// The configuration has a table for a plugin that isn't linked.
    #[error(
        "[plugins.{name}] configures a plugin that is not linked{}",
        hint(.did_you_mean.as_deref())
    )]
    UnknownPlugin {
        /// The table's name.
        name: String,
        /// The nearest plugin's name, if one is near.
        did_you_mean: Option<String>,
    },
    /// A plugin's configuration breaks its schema.
    #[error("plugin `{plugin}`: [plugins.{plugin}] does not fit: {}", list(.errors))]
    InvalidConfig {
        /// The plugin.
        plugin: &'static str,
        /// All that is wrong.
        errors: Vec<InputError>,
    },
    /// A plugin's start failed.
    #[error("plugin `{plugin}` ({package}) did not start: {reason}")]
    PluginFailed {
        /// The plugin.
        plugin: &'static str,
        /// Its crate.
        package: Package,
        /// Why.
        reason: String,
    },
}

fn hint(did_you_mean: Option<&str>) -> String {
    did_you_mean.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

fn list(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_told_to_come_back_is_told_when() {
        let busy =
            |after| RouterError::TooManyJobs { operation: "echo".into(), retry_after: after };
        let after = Duration::from_millis(2_500);
        assert_eq!(busy(after).problem().retry_after(), Some(after));
        let store = RouterError::Store(StoreError::Unavailable(String::new()));
        assert!(store.problem().retry_after().is_some());
        assert!(RouterError::KeyTaken(String::new()).problem().retry_after().is_none());
    }
}
