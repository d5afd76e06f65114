//! What can go wrong on the way to another server.

use skep::{OperationError, Problem};

/// Why another server has not done what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There's no connection: nothing was asked.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// The connection broke off, or no answer came in time: whether it was done isn't known.
    #[error("it doesn't answer: {0}")]
    Broken(String),
    /// It refuses.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// It took a job, and knows nothing of it any more.
    #[error("it has forgotten the job: {}", .0.detail)]
    Forgotten(Problem),
    /// What answers isn't a Skep server, or one that can't be understood.
    #[error("its answer can't be understood: {0}")]
    Foreign(String),
}

impl Failure {
    /// It's known by other means that there's nothing to wait for.
    pub(crate) fn given_up() -> Self {
        Self::Broken("it hasn't told how it is for too long".to_owned())
    }

    /// Whether the same may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => true,
            Self::Refused(problem) => problem.is_transient(),
            Self::Foreign(_) | Self::Forgotten(_) => false,
        }
    }

    /// The error of an operation that needs the server, called `name`: a refusal as the server told
    /// it, anything else as `hive-unreachable` (502).
    pub fn into_error(self, name: &str) -> OperationError {
        match self {
            Self::Refused(problem) => problem.into(),
            failure => {
                let detail = format!("hive `{name}`: {failure}");
                OperationError::new("hive-unreachable", detail).with_status(502)
            }
        }
    }
}
