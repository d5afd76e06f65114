//! What a server's answer means for the part that there is.

use std::time::{Duration, SystemTime};

use httpdate::parse_http_date;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Response, StatusCode};
use skep::prelude::*;

use crate::download::failure::Failure;
use crate::download::part::Origin;
use crate::download::web::{Answer, Range};

/// What an answer's body is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Which byte of the file it begins with.
    pub(crate) from: u64,
    /// The whole file's size.
    pub(crate) total: Option<u64>,
    /// How the server tells the file from others.
    pub(crate) validator: Option<String>,
}

impl Reply {
    /// Reads the answer to a request for all, or for what comes behind `asked` of the file that
    /// `origin` tells.
    pub(crate) fn read(
        answer: &Answer,
        asked: Option<&Range>,
        origin: &Origin,
    ) -> Result<Self, Failure> {
        let Answer { host, response, .. } = answer;
        let reply = match (response.status(), asked) {
            (StatusCode::OK, _) => Self::whole(response),
            (StatusCode::PARTIAL_CONTENT, Some(range)) => Self::rest(response, range)
                .ok_or_else(|| Failure::Restart(format!("{host} sends another part than asked")))?,
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(range)) => Self::nothing(response, range)
                .ok_or_else(|| Failure::Restart(format!("{host} has less than it had")))?,
            _ => return Err(refused(answer)),
        };
        let encoding = text(response, header::CONTENT_ENCODING).filter(|name| *name != "identity");
        if let Some(encoding) = encoding {
            let detail = format!(
                "{host} sends the file encoded ({encoding}), which it was asked not to: the file's \
                 own bytes can't be had from there"
            );
            let error = OperationError::new("download-refused", detail).with_status(502);
            return Err(Failure::Final(error));
        }
        // Either may say nothing of it.
        let totals = reply.total.zip(origin.total);
        let validators = reply.validator.as_ref().zip(origin.validator.as_ref());
        let has_changed = totals.is_some_and(|(now, before)| now != before)
            || validators.is_some_and(|(now, before)| now != before);
        if reply.from > 0 && has_changed {
            return Err(Failure::Restart(format!("the file at {host} has changed")));
        }
        Ok(reply)
    }

    fn whole(response: &Response<Incoming>) -> Self {
        let validator = validator(response.headers());
        Self { from: 0, total: response.body().size_hint().exact(), validator }
    }

    /// `Content-Range: bytes 100-199/200` (RFC 9110, section 14.4).
    fn rest(response: &Response<Incoming>, asked: &Range) -> Option<Self> {
        let range = text(response, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
        let (range, total) = range.split_once('/')?;
        let (from, last) = range.split_once('-')?;
        let (from, last): (u64, u64) = (from.parse().ok()?, last.parse().ok()?);
        let total: u64 = total.parse().ok()?;
        let is_rest = from == asked.from && from <= last && last < total;
        is_rest.then(|| Self { from, total: Some(total), validator: validator(response.headers()) })
    }

    /// `Content-Range: bytes */200`, which says that all of 200 has come already.
    fn nothing(response: &Response<Incoming>, asked: &Range) -> Option<Self> {
        let total = text(response, header::CONTENT_RANGE)?.strip_prefix("bytes */")?;
        let total: u64 = total.parse().ok()?;
        let is_all = total == asked.from;
        is_all.then_some(Self { from: total, total: Some(total), validator: None })
    }
}

/// What `If-Range` takes: a strong `ETag`; without any, a date that is old enough to be strong (RFC
/// 9110, section 8.8.2.2).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(etag) = text(header::ETAG) {
        return (!etag.starts_with("W/")).then(|| etag.to_owned());
    }
    let time = |name| text(name).and_then(|text| parse_http_date(text).ok());
    let (modified, now) = (time(header::LAST_MODIFIED)?, time(header::DATE)?);
    let age = now.duration_since(modified).ok()?;
    (age >= Duration::from_secs(1)).then(|| text(header::LAST_MODIFIED).map(str::to_owned))?
}

/// An answer without the file.
fn refused(answer: &Answer) -> Failure {
    let Answer { host, response, .. } = answer;
    let status = response.status();
    let is_passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if is_passing {
        let retry_after = text(response, header::RETRY_AFTER).and_then(retry_after);
        return Failure::Passing { why: format!("{host} answers {status}"), retry_after };
    }
    let (code, ours, hint) = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => ("unknown-file", 404, "it has no such file"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            "download-refused",
            502,
            "for a file of the hub that takes a token, the server's operator sets `hf_token` in \
             [plugins.model], or HF_TOKEN; the hub says the same of what it doesn't have",
        ),
        _ => ("download-refused", 502, "the file can't be had from there"),
    };
    let detail = format!("{host} answers {status}: {hint}");
    Failure::Final(OperationError::new(code, detail).with_status(ours))
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

fn text(response: &Response<Incoming>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}
