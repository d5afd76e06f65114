//! Operations: what an author implements, and how it's described.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::Result;
use crate::job::JobContext;
use crate::placement::Placement;

/// The code of one operation.
///
/// `#[skep::operation]` and `#[skep::plugin]` implement it; by hand it's for operations that are
/// only known at run time. The input has passed the spec's schema before `handle` sees it.
///
/// A handler runs as a task of its own. When its job is cancelled it may finish within
/// `jobs.cancel_grace`; then its future is dropped at the next `await`. So a handler must be able
/// to stop at any of its awaits: what has to be undone belongs into a guard's `Drop`.
#[async_trait]
pub trait OperationHandler: Send + Sync + 'static {
    /// What the operation is called, takes and gives. Read once, when the server starts.
    fn spec(&self) -> &OperationSpec;

    /// Runs the operation once.
    async fn handle(&self, input: Value, job: &JobContext) -> Result<Value>;
}

/// An operation's description, as `GET /v1/operations/{name}` shows it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OperationSpec {
    /// The operation's name, `snake_case`, `family_verb`.
    pub name: String,
    /// One line: what it does.
    pub summary: String,
    /// What a user must know beyond the summary; empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// If it's not to be used any more: what to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// The JSON Schema (2020-12) of the input, an object.
    pub input_schema: Value,
    /// The JSON Schema of the result.
    pub output_schema: Value,
    /// The JSON Schema of an output event, if the author declared one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emits_schema: Option<Value>,
    /// What a caller may assume of its effects.
    pub hints: Hints,
    /// How long and how often it runs.
    pub limits: Limits,
    /// Where it runs, if it may be asked to run on another machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Whether it's for other operations only: it isn't listed, and clients can't start it.
    #[serde(skip)]
    pub hidden: bool,
}

impl OperationSpec {
    /// A spec of an operation that takes any object and returns anything.
    ///
    /// The fields are public: set what the operation is more precise about.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            description: String::new(),
            deprecated: None,
            input_schema: serde_json::json!({ "type": "object" }),
            output_schema: Value::Bool(true),
            emits_schema: None,
            hints: Hints::default(),
            limits: Limits::default(),
            placement: None,
            hidden: false,
        }
    }

    /// Whether `name` can be an operation's: a lower-case letter, then lower-case letters, digits
    /// and single underscores, 64 bytes at most. `operation` is reserved.
    pub fn is_valid_name(name: &str) -> bool {
        name != "operation"
            && name.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.ends_with('_')
            && !name.contains("__")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }
}

/// An operation's whole input as a type of the author's own, in place of one parameter a field.
///
/// ```
/// use skep::prelude::*;
///
/// #[skep::data]
/// struct Order {
///     /// What to buy.
///     item: String,
///     /// How many.
///     count: u32,
/// }
///
/// /// Buy something.
/// #[skep::operation]
/// async fn shop_buy(Input(order): Input<Order>) -> Result<u32> {
///     Ok(order.count)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Input<T>(pub T);

/// What a caller may assume of an operation's effects: MCP's tool annotations of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, as MCP has them")]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// Running it twice is the same as running it once.
    pub idempotent: bool,
    /// It may delete or overwrite.
    pub destructive: bool,
}

/// How long and how often an operation runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// A job that runs longer ends as `failed` / `timeout`. On the wire: seconds.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many of its jobs run at once; the others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<usize>,
    /// How many of its jobs may wait; a further one is refused with `too-many-jobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<usize>,
    /// How often a job that fails is tried. Only for idempotent operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// How often a job of an idempotent operation is tried.
///
/// A job is tried again when its handler fails, panics or runs out of time, unless the problem says
/// that the request is at fault ([`Problem::is_transient`](crate::Problem::is_transient)). A time
/// limit is each attempt's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Retry {
    /// How many attempts there are, the first one included, and those that a crash or a stop of the
    /// server cut off.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with each further one, up to
    /// [`Retry::MAX_PAUSE`]. On the wire: seconds.
    #[serde(rename = "backoff_seconds", serialize_with = "whole_seconds")]
    pub backoff: Duration,
}

impl Retry {
    /// The longest pause between two attempts, unless an error asks for a longer one.
    pub const MAX_PAUSE: Duration = Duration::from_mins(5);

    /// At most `attempts` attempts, with a first pause of at most `backoff`.
    pub fn new(attempts: u32, backoff: Duration) -> Self {
        Self { attempts, backoff }
    }

    /// The pause after attempt `attempt`: a random part of what it may be ("full jitter"), so that
    /// jobs that failed together don't come back together; after `retry_after`, if there's one.
    pub(crate) fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let longest = self.backoff.saturating_mul(doubled).min(Self::MAX_PAUSE);
        longest.mul_f64(fastrand::f64()).saturating_add(retry_after.unwrap_or_default())
    }
}

#[allow(clippy::ref_option, reason = "serde gives the field by reference")]
fn seconds<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(|timeout| timeout.as_secs_f64()).serialize(serializer)
}

fn whole_seconds<S: Serializer>(backoff: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    backoff.as_secs_f64().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_differ() {
        let retry = Retry::new(100, Duration::from_secs(1));
        for (attempt, longest) in [(1, 1), (2, 2), (5, 16), (60, 300)] {
            let pauses: Vec<_> = (0..200).map(|_| retry.pause(attempt, None)).collect();
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(*most <= Duration::from_secs(longest), "attempt {attempt}: {most:?}");
            assert!(*most > Duration::from_secs(longest) / 2, "attempt {attempt}: {most:?}");
            assert!(*least < Duration::from_secs(longest) / 2, "attempt {attempt}: {least:?}");
        }
        let asked = Duration::from_mins(10);
        let pauses: Vec<_> = (0..200).map(|_| retry.pause(1, Some(asked))).collect();
        let (least, most) = (*pauses.iter().min().unwrap(), *pauses.iter().max().unwrap());
        assert!(asked <= least && least < most && most <= asked + Duration::from_secs(1));
    }

    #[test]
    fn names_are_snake_case() {
        for name in ["echo", "hive_list", "v2_x9"] {
            assert!(OperationSpec::is_valid_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", "Echo", "9lives", "a-b", "a__b", "a_", "_a", "operation", "é", &long] {
            assert!(!OperationSpec::is_valid_name(name), "{name}");
        }
    }
}
