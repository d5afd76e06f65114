//! Problems: what went wrong, as every client is told it (RFC 9457).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

/// The prefix of every problem's `type`: `urn:skep:problem:CODE`.
const TYPE_PREFIX: &str = "urn:skep:problem:";

/// The members that every problem has.
const STANDARD: [&str; 5] = ["type", "title", "status", "detail", "code"];

/// Declares [`Code`] with each code's text, HTTP status and title side by side.
macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The codes that Skep itself gives, all of them. They are stable: programs may compare them.
        ///
        /// An operation adds codes of its own by [`OperationError::new`](crate::OperationError::new).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// Every code, in the order of this page.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it's written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// A short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// When it's given, and with what: its documentation here.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $doc.trim_ascii(),)* }
            }
        }
    };
}

codes! {
    /// The body isn't JSON; with `line` and `column`.
    InvalidJson = "invalid-json", 400, "The body is not valid JSON";
    /// A header has a value that can't be read, or isn't served.
    InvalidHeader = "invalid-header", 400, "A header can't be used";
    /// A query parameter is unknown or can't be read.
    InvalidQuery = "invalid-query", 400, "A query parameter can't be used";
    /// The `Origin` is not one that may use this server.
    Forbidden = "forbidden", 403, "Not allowed";
    /// No operation of that name; with `did_you_mean` where one is near.
    UnknownOperation = "unknown-operation", 404, "No such operation";
    /// No job of that id, or it's no longer kept.
    UnknownJob = "unknown-job", 404, "No such job";
    /// No resource at that path.
    NotFound = "not-found", 404, "No such resource";
    /// The resource has other methods; the `Allow` header lists them.
    MethodNotAllowed = "method-not-allowed", 405, "The method is not allowed here";
    /// The request's body did not arrive in time.
    RequestTimeout = "request-timeout", 408, "The request did not arrive in time";
    /// The request contradicts the state of things, as cancelling an ended job does.
    Conflict = "conflict", 409, "Conflict";
    /// The body is over `server.max_body`.
    PayloadTooLarge = "payload-too-large", 413, "The body is too large";
    /// The body is not `application/json`.
    UnsupportedMediaType = "unsupported-media-type", 415, "Only application/json is taken";
    /// The `Host` is not a name of this server (DNS rebinding).
    MisdirectedRequest = "misdirected-request", 421, "Not a host of this server";
    /// The input breaks the operation's schema; with `errors`, all of them.
    InvalidInput = "invalid-input", 422, "The input does not fit the operation";
    /// The operation's or the server's limit of jobs is reached; with `Retry-After`.
    TooManyJobs = "too-many-jobs", 429, "Too many jobs";
    /// A fault of Skep itself. The server's log has the cause.
    Internal = "internal", 500, "Internal error";
    /// The operation failed and gave no code of its own.
    Failed = "failed", 500, "The operation failed";
    /// The operation panicked. The server's log has the message.
    Panic = "panic", 500, "The operation panicked";
    /// The job was cut off by the server's shutdown.
    Interrupted = "interrupted", 500, "The job was interrupted";
    /// The job's output is over `jobs.max_log`, or the store has no room for it.
    OutputTooLarge = "output-too-large", 500, "The job's output is too large";
    /// The job was cancelled; seen where its result was waited for.
    Cancelled = "cancelled", 499, "The job was cancelled";
    /// An operation called itself, directly or over others.
    CallCycle = "call-cycle", 508, "The operations call each other in a circle";
    /// Calls are nested too deeply.
    CallDepth = "call-depth", 508, "Calls are nested too deeply";
    /// The server is going down; with `Retry-After`.
    ShuttingDown = "shutting-down", 503, "The server is shutting down";
    /// A plugin says that it can't do its work.
    Unhealthy = "unhealthy", 503, "The server is not ready";
    /// The store can't take or give what is asked of it; with `Retry-After`.
    StoreUnavailable = "store-unavailable", 503, "The store is not available";
    /// The job ran longer than it may.
    Timeout = "timeout", 504, "The job ran out of time";
}

/// What went wrong, in the shape of RFC 9457 (`application/problem+json`).
///
/// The same shape answers a refused request and stands in the `end` event of a failed job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// What programs compare: one of [`Code`], or an operation's own.
    pub code: Cow<'static, str>,
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A summary that is the same for every problem of this code.
    pub title: Cow<'static, str>,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// Further members, by code (`did_you_mean`, `errors`, `line`...).
    pub extensions: Map<String, Value>,
    /// Whether its operation says that another attempt is of no use. Not told to clients.
    pub(crate) is_permanent: bool,
}

impl Problem {
    /// A problem of one of Skep's own codes.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code.as_str()),
            status: code.status(),
            title: Cow::Borrowed(code.title()),
            detail: detail.into(),
            extensions: Map::new(),
            is_permanent: false,
        }
    }

    /// Adds a member beside the standard ones.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// A fault of Skep itself; `detail` is for the server's log.
    pub(crate) fn internal(detail: impl fmt::Display) -> Self {
        tracing::error!("{detail}");
        Self::new(Code::Internal, "a fault of the server; its log says more")
    }

    /// When the same may succeed, if that is known: the member `retry_after`, in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.extensions.get("retry_after")?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether the same may succeed at another time: not if the request is at fault (a status of
    /// 4xx, but for 408, 425 and 429), nor if who asks goes in a circle (508), nor if the operation says
    /// so ([`OperationError::permanent`](crate::OperationError::permanent)).
    pub fn is_transient(&self) -> bool {
        match self.status {
            _ if self.is_permanent => false,
            408 | 425 | 429 => true,
            508 => false,
            500.. => !self.is(Code::OutputTooLarge),
            _ => false,
        }
    }

    /// Whether this is a problem of `code`.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5 + self.extensions.len()))?;
        map.serialize_entry("type", &format_args!("{TYPE_PREFIX}{}", self.code))?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", &self.code)?;
        // A member of a standard one's name would make the object ambiguous.
        for (member, value) in &self.extensions {
            if !STANDARD.contains(&member.as_str()) {
                map.serialize_entry(member, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            code: String,
            status: u16,
            title: String,
            detail: String,
            #[serde(flatten)]
            extensions: Map<String, Value>,
        }
        let mut wire = Wire::deserialize(deserializer)?;
        wire.extensions.remove("type");
        Ok(Self {
            code: wire.code.into(),
            status: wire.status,
            title: wire.title.into(),
            detail: wire.detail,
            extensions: wire.extensions,
            is_permanent: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire() {
        let problem = Problem::new(Code::UnknownOperation, "no operation `ehco`")
            .with("did_you_mean", "echo");
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:skep:problem:unknown-operation","title":"No such operation","status":404,"detail":"no operation `ehco`","code":"unknown-operation","did_you_mean":"echo"}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }

    #[test]
    fn every_code_is_unique_and_has_an_error_status() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }
}
