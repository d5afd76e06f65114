//! The error of an operation.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::problem::{Code, Problem};
use crate::router::RouterError;
use crate::store::StoreError;
use crate::suggest::nearest;

/// The longest part of an unknown name that is quoted back, characters.
const MAX_QUOTED: usize = 100;

/// What an operation returns: its output, or why there is none.
pub type Result<T, E = OperationError> = std::result::Result<T, E>;

/// Why an operation failed. It ends its job as `failed` and is told to the caller as a [`Problem`].
///
/// Any [`std::error::Error`] becomes one by `?`, with the code `failed` and the error's text; a
/// [`Problem`] keeps its code, and of a store that isn't available clients aren't told why. Like
/// `anyhow::Error`, this type therefore doesn't implement [`std::error::Error`] itself.
///
/// ```
/// use skep::OperationError;
///
/// fn take(seats: u32) -> skep::Result<u32> {
///     let rows: u32 = "12".parse()?;
///     if seats > rows * 6 {
///         return Err(OperationError::new("sold-out", "only 72 seats are left").with_status(409));
///     }
///     Ok(seats)
/// }
/// assert_eq!(take(80).unwrap_err().problem().code, "sold-out");
/// ```
pub struct OperationError {
    // Boxed, so that `Result<T>` stays small on the path that succeeds.
    problem: Box<Problem>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl OperationError {
    /// An error with a code of the operation's own (`kebab-case`, stable) and status 500.
    pub fn new(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            problem: Box::new(Problem {
                title: Cow::Borrowed(Code::Failed.title()),
                status: Code::Failed.status(),
                detail: detail.into(),
                extensions: Map::new(),
                is_permanent: false,
                code,
            }),
            source: None,
        }
    }

    /// An error of the code `failed`: just words.
    pub fn message(detail: impl Into<String>) -> Self {
        Problem::new(Code::Failed, detail).into()
    }

    /// Nothing of this `kind` is called `name`: `unknown-KIND`, status 404. It tells which of the `known`
    /// names may be meant (`did_you_mean`), else which operation lists them.
    ///
    /// ```
    /// let known = ["tulip", "rose"];
    /// let error = skep::OperationError::unknown("flower", "tulpi", known, "flower_list");
    /// assert_eq!(error.problem().detail, "no flower is called `tulpi`, did you mean `tulip`?");
    /// assert_eq!((&*error.problem().code, error.problem().status), ("unknown-flower", 404));
    /// ```
    pub fn unknown<'a>(
        kind: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
        listed_by: &str,
    ) -> Self {
        // A client may have sent a megabyte of it.
        let name: String = name.chars().take(MAX_QUOTED).collect();
        let near = nearest(&name, known);
        let hint = match near {
            Some(near) => format!(", did you mean `{near}`?"),
            None => format!("; `{listed_by}` has those there are"),
        };
        let detail = format!("no {kind} is called `{name}`{hint}");
        let error = Self::new(format!("unknown-{kind}"), detail).with_status(404);
        match near {
            Some(near) => error.with("did_you_mean", near),
            None => error,
        }
    }

    /// Says of an operation that was called and isn't there which plugin has it: `missing-plugin`, status 501.
    /// Any other error stays as it is.
    ///
    /// ```
    /// use skep::prelude::*;
    ///
    /// async fn brew(job: &JobContext) -> Result<u32> {
    ///     let water = job.call("water_heat", serde_json::json!({ "to": 96 })).await;
    ///     water.map_err(|error| error.or_missing_plugin("water", "kitchen-water"))
    /// }
    /// ```
    #[must_use]
    pub fn or_missing_plugin(self, plugin: &str, crate_name: &str) -> Self {
        if !self.problem.is(Code::UnknownOperation) {
            return self;
        }
        let detail = format!(
            "{}: it's the plugin `{plugin}` that has it, which is not linked into this server (crate \
             {crate_name})",
            self.problem.detail
        );
        Self::new("missing-plugin", detail).with_status(501)
    }

    /// Sets the HTTP status that a waiting client gets.
    ///
    /// # Panics
    /// If `status` isn't an error status (400 to 599).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        assert!((400..600).contains(&status), "{status} is not an error status");
        self.problem.status = status;
        self
    }

    /// Says when the same may succeed: the next attempt of an operation with `retry` doesn't come
    /// earlier, and a waiting client gets it as `Retry-After`.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        self.with("retry_after", retry_after.as_secs_f64())
    }

    /// Says that another attempt is of no use: the job isn't tried again though its operation has
    /// `retry`.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.problem.is_permanent = true;
        self
    }

    /// Adds a member to the problem, for programs to read.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.problem.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// What the caller is told.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What the caller is told, taken out.
    pub fn into_problem(self) -> Problem {
        *self.problem
    }

    /// The error that caused this one, if it came by `?`.
    pub fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for OperationError {
    fn from(error: E) -> Self {
        if let Some(problem) = (&error as &dyn Any).downcast_ref::<Problem>() {
            return Self { problem: Box::new(problem.clone()), source: None };
        }
        if let Some(error) = (&error as &dyn Any).downcast_ref::<RouterError>() {
            return Self { problem: Box::new(error.problem()), source: None };
        }
        if let Some(StoreError::Unavailable(words)) = (&error as &dyn Any).downcast_ref() {
            tracing::error!("{words}");
            let problem = RouterError::Store(StoreError::Unavailable(String::new())).problem();
            return Self { problem: Box::new(problem), source: Some(Box::new(error)) };
        }
        let problem = Problem::new(Code::Failed, error.to_string());
        Self { problem: Box::new(problem), source: Some(Box::new(error)) }
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.detail)
    }
}

impl fmt::Debug for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationError")
            .field("code", &self.problem.code)
            .field("detail", &self.problem.detail)
            .field("source", &self.source)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_one_by_the_question_mark() {
        let parse = || -> Result<u8> { Ok("300".parse::<u8>()?) };
        let error = parse().unwrap_err();
        assert_eq!(error.problem().code, "failed");
        assert_eq!(error.to_string(), "number too large to fit in target type");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_stores_own_words_stay_on_the_server() {
        let read = || -> Result<()> { Err(StoreError::Unavailable("/var/db is gone".to_owned()))? };
        let error = read().unwrap_err();
        assert_eq!(error.problem().code, "store-unavailable");
        assert!(!error.to_string().contains("/var/db"), "{error}");
        assert!(error.problem().retry_after().is_some());
    }

    #[test]
    fn a_problem_keeps_its_code() {
        let refuse = || -> Result<()> { Err(Problem::new(Code::Conflict, "taken"))? };
        assert_eq!(refuse().unwrap_err().problem().status, 409);
    }

    #[test]
    fn whose_an_unknown_operation_is_can_be_told_and_other_errors_stay() {
        let told = |code| {
            let problem = Problem::new(code, "no operation is called `water_heat`");
            OperationError::from(problem).or_missing_plugin("water", "kitchen-water").into_problem()
        };
        let missing = told(Code::UnknownOperation);
        assert_eq!((&*missing.code, missing.status), ("missing-plugin", 501));
        assert!(missing.detail.starts_with("no operation is called `water_heat`: "), "{missing}");
        assert!(missing.detail.contains("kitchen-water"), "{missing}");
        assert_eq!(
            told(Code::Timeout),
            Problem::new(Code::Timeout, "no operation is called `water_heat`")
        );
    }
}
