//! Reading a request: its body, its query, and what is common to its headers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Uri};
use serde_json::Value;
use skep::problem::Code;
use skep::{Problem, nearest, parse_duration};
use tokio::time::timeout;

use crate::http::Http;

impl Http {
    /// A request's body, parsed.
    pub(crate) async fn json_body(&self, request: Request<Incoming>) -> Result<Value, Problem> {
        if !is_json(request.headers()) {
            let detail = "send the body as JSON, with `Content-Type: application/json`";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        parse(&self.body(request.into_body()).await?)
    }

    /// A request's body, whole.
    pub(crate) async fn body(&self, body: Incoming) -> Result<Bytes, Problem> {
        let limit = self.max_body;
        let Ok(read) = timeout(self.body_timeout, Limited::new(body, limit).collect()).await else {
            let detail = format!("the body did not arrive within {:?}", self.body_timeout);
            return Err(Problem::new(Code::RequestTimeout, detail));
        };
        match read {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let detail = format!("a body may have {limit} bytes, see `server.max_body`");
                Err(Problem::new(Code::PayloadTooLarge, detail))
            }
            Err(error) => {
                let detail = format!("the body could not be read: {error}");
                Err(Problem::new(Code::InvalidJson, detail))
            }
        }
    }
}

/// Whether the body is JSON in UTF-8, which is all that JSON may be (RFC 8259, 8.1).
fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            parameter.split_once('=').is_none_or(|(name, value)| {
                !name.eq_ignore_ascii_case("charset")
                    || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

fn parse(body: &[u8]) -> Result<Value, Problem> {
    if body.trim_ascii().is_empty() {
        let problem = Problem::new(Code::InvalidJson, "the body is empty: send a JSON object");
        return Err(problem.with("line", 1).with("column", 0));
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(Code::InvalidJson, error.to_string())
            .with("line", error.line())
            .with("column", error.column())
    })
}

/// The event after which a reader wants to go on: `Last-Event-ID`, or `?after=`.
pub(crate) fn resume_after(request: &Request<Incoming>) -> Result<u64, Problem> {
    // The header wins: a browser that reconnects sends it to the URL that it began with.
    if let Some(text) = header_text(request.headers(), "last-event-id")? {
        return text
            .parse()
            .map_err(|_| invalid_header("last-event-id", "it is an event's number"));
    }
    match Query::of(request.uri(), &["after"])?.value("after") {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| invalid_query("after", "it is an event's number")),
    }
}

/// The text of a header that may be given once.
pub(crate) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_header(name, "it is given more than once"));
    }
    value.to_str().map(Some).map_err(|_| invalid_header(name, "it is not plain text"))
}

/// The problem of header `name`.
pub(crate) fn invalid_header(name: &str, detail: &str) -> Problem {
    Problem::new(Code::InvalidHeader, format!("`{name}`: {detail}")).with("header", name)
}

/// The problem of query parameter `name`.
pub(crate) fn invalid_query(name: &str, detail: &str) -> Problem {
    Problem::new(Code::InvalidQuery, format!("`{name}`: {detail}")).with("parameter", name)
}

/// A request's query, by its parameters' names.
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the query. A parameter that isn't `known`, or is given twice, is refused.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let hint = match nearest(&name, known.iter().copied()) {
                    Some(near) => format!("there is no such parameter, did you mean `{near}`?"),
                    None => "there is no such parameter".to_owned(),
                };
                return Err(invalid_query(&name, &hint));
            }
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(invalid_query(&name, "it is given more than once"));
            }
        }
        Ok(Self(parameters))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A duration, such as `30s`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        let parse = |text: &str| parse_duration(text).map_err(|error| invalid_query(name, &error));
        self.value(name).map(parse).transpose()
    }
}
