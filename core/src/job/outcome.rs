//! How a job ends: from what its handler did, and what stopped it, to its last state.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use crate::job::event::Field;
use crate::job::handler::Handled;
use crate::job::live::{Job, Stop, body};
use crate::job::{JobRecord, JobState};
use crate::problem::{Code, Problem};

impl Job {
    /// What the handler of an attempt gave: a result, or why there is none.
    pub(super) fn settle(&self, handled: Handled) -> Result<Box<RawValue>, Problem> {
        let name = &self.operation.name;
        match handled {
            Handled::Returned(Ok(result)) => {
                to_raw_value(&result).map_err(|error| Problem::new(Code::Failed, error.to_string()))
            }
            Handled::Returned(Err(error)) => {
                if let Some(source) = error.source() {
                    tracing::debug!(job = %self.id, error = source, "operation `{name}` failed");
                }
                Err(error.into_problem())
            }
            Handled::Aborted => Err(Problem::new(Code::Cancelled, "the handler was aborted")),
            Handled::Panicked(message) => {
                error!(operation = %name, job = %self.id, message, "an operation panicked");
                let detail = format!("`{name}` panicked; the server's log has the message");
                Err(Problem::new(Code::Panic, detail))
            }
            Handled::Lost => {
                let detail = format!("`{name}` could not be run; the server's log says why");
                Err(Problem::new(Code::Internal, detail))
            }
        }
    }

    /// How the job ends for a reason that isn't its handler's.
    pub(super) fn stopped_state(&self, reason: Stop) -> JobState {
        let name = &self.operation.name;
        let problem = match reason {
            Stop::Finished => unreachable!("a job that has finished ends as its handler did"),
            Stop::Requested => return JobState::Cancelled,
            Stop::Deadline => self.timed_out(),
            Stop::OutputTooLarge => self.output_too_large(),
            Stop::Shutdown => {
                let detail = match self.look(|record| record.started_at) {
                    None => format!("the server went down before `{name}` ran; start it again"),
                    Some(_) => format!(
                        "the server went down while `{name}` ran; look at what it has done, then \
                         start it again"
                    ),
                };
                Problem::new(Code::Interrupted, detail)
            }
        };
        JobState::Failed(problem)
    }

    pub(super) fn timed_out(&self) -> Problem {
        Problem::new(Code::Timeout, format!("`{}` took longer than it may", self.operation.name))
    }
}

/// Why a job isn't run again that ran when its server died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAgain {
    /// Another job called it, and calls anew if it runs again itself.
    Called,
    /// Its operation isn't idempotent.
    NotIdempotent,
    /// It has seen its server die too often.
    GivenUp,
}

/// How a job ends that ran when its server died, and isn't run again.
pub(crate) fn crashed(job: &JobRecord, why: NotAgain) -> JobState {
    let JobRecord { id, operation, crashes, .. } = job;
    let detail = match why {
        NotAgain::Called => format!("the server died before `{operation}` had answered its caller"),
        NotAgain::NotIdempotent => format!(
            "the server died while `{operation}` ran, which isn't known to be safe to run twice; \
             look at what it has done, then start it again"
        ),
        NotAgain::GivenUp => {
            error!(job = %id, "giving up: the server died {crashes} times while `{operation}` ran");
            format!("given up: the server died {crashes} times while `{operation}` ran")
        }
    };
    JobState::Failed(Problem::new(Code::Interrupted, detail).with("crashes", *crashes))
}

/// The body of the end event.
pub(super) fn end_body(state: &JobState) -> Vec<u8> {
    #[derive(Serialize)]
    struct End<'a> {
        state: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Problem>,
    }
    let (result, error) = match state {
        JobState::Succeeded(result) => (Some(&**result), None),
        JobState::Failed(problem) => (None, Some(problem)),
        _ => (None, None),
    };
    body(Field::End, &End { state: state.as_str(), result, error })
}
