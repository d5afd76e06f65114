//! Why a request for a file came to nothing.

use std::time::Duration;

use skep::prelude::*;

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may go well if it's made again.
    Passing {
        /// What happened, for people.
        why: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// What has come is of no use; it may go well from the beginning. Why, for people.
    Restart(String),
    /// It won't.
    Final(OperationError),
}

impl Failure {
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), retry_after: None }
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        Self::Final(error)
    }
}
