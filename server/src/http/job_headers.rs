//! What a request's headers say of the job that it asks for.

use hyper::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use skep::job::{JobRequest, Priority, Start};
use skep::{Problem, nearest, parse_duration};

use crate::http::request::{header_text, invalid_header};

const KEY: &str = "idempotency-key";
const HOPS: &str = "skep-hops";
const PRIORITY: &str = "skep-priority";
const RUN_AT: &str = "skep-run-at";
const START: &str = "skep-start";
const TIMEOUT: &str = "skep-timeout";

/// The headers of this prefix are Skep's: one that isn't served is refused, not ignored.
const PREFIX: &str = "skep-";
const SERVED: [&str; 5] = [HOPS, PRIORITY, RUN_AT, START, TIMEOUT];

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// Reads what `headers` say of a job into `job`.
pub(crate) fn read(headers: &HeaderMap, job: &mut JobRequest) -> Result<(), Problem> {
    let mut says_nothing = true;
    for name in headers.keys().map(HeaderName::as_str) {
        says_nothing &= !name.starts_with(PREFIX) && name != KEY;
        if name.starts_with(PREFIX) && !SERVED.contains(&name) {
            let hint = nearest(name, SERVED)
                .map(|near| format!(", did you mean `{near}`?"))
                .unwrap_or_default();
            return Err(invalid_header(name, &format!("this header is not served{hint}")));
        }
    }
    // Most requests: to look for each of the headers takes longer than to see that there's none.
    if says_nothing {
        return Ok(());
    }
    job.idempotency_key = header_text(headers, KEY)?.map(key).transpose()?;
    if let Some(value) = header_text(headers, TIMEOUT)? {
        job.timeout = Some(parse_duration(value).map_err(|e| invalid_header(TIMEOUT, &e))?);
    }
    if let Some(value) = header_text(headers, HOPS)? {
        job.hops = value.parse().map_err(|_| invalid_header(HOPS, "it is a number"))?;
    }
    if let Some(value) = header_text(headers, PRIORITY)? {
        job.priority = priority(value)?;
    }
    job.start = match (header_text(headers, START)?, header_text(headers, RUN_AT)?) {
        (None | Some("now"), None) => Start::Now,
        (Some("on-stream"), None) => Start::OnStream,
        (None, Some(value)) => Start::At(time(value)?),
        (Some("now" | "on-stream"), Some(_)) => {
            let detail =
                "a job starts at a time, or as `skep-start` says: leave one of the two out";
            return Err(invalid_header(RUN_AT, detail));
        }
        (Some(_), _) => return Err(invalid_header(START, "it is `now` or `on-stream`")),
    };
    Ok(())
}

fn key(value: &str) -> Result<String, Problem> {
    if (1..=MAX_KEY).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    let detail = format!("it is 1 to {MAX_KEY} visible ASCII characters, without blanks");
    Err(invalid_header(KEY, &detail))
}

fn priority(value: &str) -> Result<Priority, Problem> {
    let known = Priority::ALL.into_iter().find(|priority| priority.as_str() == value);
    known.ok_or_else(|| invalid_header(PRIORITY, "it is `low`, `normal` or `high`"))
}

/// A time: a date's (RFC 3339), or from now.
fn time(value: &str) -> Result<Timestamp, Problem> {
    let bad = || {
        let detail = "it is a time such as `2030-01-31T08:00:00Z`, or one from now such as `+10m`";
        invalid_header(RUN_AT, detail)
    };
    let Some(from_now) = value.strip_prefix('+') else { return value.parse().map_err(|_| bad()) };
    let from_now = parse_duration(from_now).map_err(|_| bad())?;
    Timestamp::now().checked_add(from_now).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::HeaderValue;
    use serde_json::Value;

    use super::*;

    fn job(headers: &[(&'static str, &str)]) -> Result<JobRequest, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut job = JobRequest::new("echo", Value::Null);
        read(&map, &mut job).map(|()| job).map_err(|problem| problem.detail)
    }

    #[test]
    fn each_header_is_read() {
        let key = "k".repeat(MAX_KEY);
        let read = job(&[(KEY, &key), (PRIORITY, "high"), (TIMEOUT, "3s"), (HOPS, "2")]).unwrap();
        assert_eq!(read.idempotency_key, Some(key));
        assert_eq!(read.priority, Priority::High);
        assert_eq!((read.timeout, read.hops), (Some(Duration::from_secs(3)), 2));
        assert_eq!(job(&[(START, "on-stream")]).unwrap().start, Start::OnStream);
        let none = job(&[("x-skep-other", "1")]).unwrap();
        assert_eq!((none.start, none.priority), (Start::Now, Priority::Normal));
        assert_eq!(none.idempotency_key, None);
    }

    #[test]
    fn a_time_is_a_date_or_from_now() {
        let at = |value| match job(&[(RUN_AT, value)]).unwrap().start {
            Start::At(at) => at,
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(at("2030-01-31T08:00:00Z").to_string(), "2030-01-31T08:00:00Z");
        assert_eq!(at("2030-01-31T10:00:00.5+02:00").to_string(), "2030-01-31T08:00:00.5Z");
        let (before, soon) = (Timestamp::now(), at("+10m"));
        let apart = soon.duration_since(before).as_secs();
        assert!((600..=601).contains(&apart), "{apart}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_why() {
        let long = "k".repeat(MAX_KEY + 1);
        for (headers, says) in [
            (&[(KEY, "")][..], "1 to 255 visible"),
            (&[(KEY, "a b")], "1 to 255 visible"),
            (&[(KEY, &long)], "1 to 255 visible"),
            (&[(KEY, "a"), (KEY, "b")], "more than once"),
            (&[(HOPS, "-1")], "it is a number"),
            (&[(PRIORITY, "urgent")], "`low`, `normal` or `high`"),
            (&[(PRIORITY, "High")], "`low`, `normal` or `high`"),
            (&[(START, "later")], "`now` or `on-stream`"),
            (&[(RUN_AT, "tomorrow")], "`2030-01-31T08:00:00Z`"),
            (&[(RUN_AT, "2030-01-31T08:00:00")], "`2030-01-31T08:00:00Z`"),
            (&[(RUN_AT, "+-1s")], "`+10m`"),
            (&[(RUN_AT, "+99999999h")], "`+10m`"),
            (&[(RUN_AT, "10m")], "`+10m`"),
            (&[(RUN_AT, "+1s"), (START, "on-stream")], "leave one of the two out"),
            (&[(RUN_AT, "+1s"), (START, "now")], "leave one of the two out"),
            (&[("skep-prioritiy", "low")], "did you mean `skep-priority`?"),
            (&[("skep-runat", "+1s")], "did you mean `skep-run-at`?"),
        ] {
            let refused = job(headers).unwrap_err();
            assert!(refused.contains(says), "{headers:?}: {refused}");
        }
    }
}
