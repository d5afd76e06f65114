//! `/v1/jobs`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use skep::job::{JobRecord, JobRequest, StateName};
use skep::problem::Code;
use skep::router::CancelOnDrop;
use skep::store::JobQuery;
use skep::{JobId, Problem, RouterError, nearest};

use crate::http::events::Events;
use crate::http::request::{Query, invalid_query, resume_after};
use crate::http::{Answer, Http, body, job_headers};

/// How many jobs a page has, if the client doesn't say, and at most.
const PAGE: (usize, usize) = (50, 500);

/// The longest `?wait=`.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// The answer to `POST /v1/jobs`.
#[derive(Serialize)]
struct Accepted<'a> {
    job_id: JobId,
    sse_url: String,
    state: &'static str,
    operation: &'a str,
    created_at: String,
}

impl Http {
    /// `POST /v1/jobs`.
    pub(crate) async fn create_job(&self, request: Request<Incoming>) -> Answer {
        let mut job = JobRequest::new(String::new(), Value::Null);
        job.caller = self.caller(request.headers())?;
        job_headers::read(request.headers(), &mut job)?;
        (job.operation, job.input) = split(self.json_body(request).await?)?;
        let job = self.router.create_job(job).await?;
        let path = path(job.id);
        let accepted = Accepted {
            job_id: job.id,
            sse_url: format!("{path}/stream"),
            state: job.state.as_str(),
            operation: &job.operation,
            created_at: job.created_at.to_string(),
        };
        let mut response = body::json(StatusCode::CREATED, &accepted);
        response.headers_mut().insert(header::LOCATION, header_value(path));
        Ok(response)
    }

    /// `GET /v1/jobs`.
    pub(crate) async fn list_jobs(&self, request: Request<Incoming>) -> Answer {
        let query = Query::of(request.uri(), &["state", "operation", "parent", "limit", "cursor"])?;
        let mut jobs = JobQuery::newest(PAGE.0);
        jobs.operation = query.value("operation").map(str::to_owned);
        if let Some(states) = query.value("state") {
            jobs.states = states.split(',').map(parse_state).collect::<Result<_, _>>()?;
        }
        if let Some(parent) = query.value("parent") {
            let bad = |_| invalid_query("parent", "it is a job's id");
            jobs.parent = Some(parent.parse().map_err(bad)?);
        }
        if let Some(limit) = query.value("limit") {
            let bad = || invalid_query("limit", &format!("it is a number from 1 to {}", PAGE.1));
            jobs.limit = limit.parse().map_err(|_| bad())?;
            if !(1..=PAGE.1).contains(&jobs.limit) {
                return Err(bad().into());
            }
        }
        if let Some(cursor) = query.value("cursor") {
            let bad = |_| invalid_query("cursor", "it is the `next_cursor` of an earlier page");
            jobs.before = Some(cursor.parse().map_err(bad)?);
        }
        let mut found = self.router.jobs(&jobs).await?;
        // A page that isn't full is the last one. Hidden jobs count: behind them there may be more.
        let next = found.last().filter(|_| found.len() == jobs.limit).map(|job| job.id);
        found.retain(|job| self.is_visible(&job.operation, job.parent));
        Ok(body::json(StatusCode::OK, &json!({ "jobs": found, "next_cursor": next })))
    }

    /// `GET /v1/jobs/{id}`.
    pub(crate) async fn show_job(&self, request: Request<Incoming>, id: JobId) -> Answer {
        let wait = Query::of(request.uri(), &["wait"])?.duration("wait")?;
        let mut job = self.visible_job(id).await?;
        if let Some(wait) = wait {
            job = self.router.wait(id, wait.min(MAX_WAIT)).await?;
        }
        Ok(body::json(StatusCode::OK, &job))
    }

    /// `DELETE /v1/jobs/{id}`.
    pub(crate) async fn cancel_job(&self, id: JobId) -> Answer {
        self.visible_job(id).await?;
        let job = self.router.cancel_job(id).await?;
        Ok(body::json(StatusCode::ACCEPTED, &job))
    }

    /// `GET /v1/jobs/{id}/stream`.
    pub(crate) async fn stream_job(&self, request: Request<Incoming>, id: JobId) -> Answer {
        let after = resume_after(&request)?;
        let job = self.visible_job(id).await?;
        if job.state.is_end() && after >= job.last_event {
            // The only answer that stops an EventSource from asking again (WHATWG HTML, 9.2.3).
            return Ok(body::empty(StatusCode::NO_CONTENT));
        }
        self.events(&job, after, None).await
    }

    /// A job that clients may know of.
    async fn visible_job(&self, id: JobId) -> Result<JobRecord, RouterError> {
        let job = self.router.job(id).await?;
        let is_visible = self.is_visible(&job.operation, job.parent());
        if is_visible { Ok(job) } else { Err(RouterError::UnknownJob(id)) }
    }

    /// Whether clients may know of a job of `operation` that `parent` called. What operations call by
    /// a hidden one may hold what no client should see, such as paths of the server's disk. One that
    /// isn't served any more may have been hidden, unless it was a client that called it.
    fn is_visible(&self, operation: &str, parent: Option<JobId>) -> bool {
        parent.is_none() || self.router.operation(operation).is_ok()
    }

    /// A job's events as an answer.
    pub(crate) async fn events(
        &self,
        job: &JobRecord,
        after: u64,
        owner: Option<CancelOnDrop>,
    ) -> Answer {
        let events = self.router.execute(job, after).await?;
        Ok(body::events(Events::new(events.into_frames(), owner)))
    }
}

/// A job's URL, for `Location`.
pub(crate) fn location(id: JobId) -> HeaderValue {
    header_value(path(id))
}

/// A path that has an id in it, as a header has it.
fn header_value(path: String) -> HeaderValue {
    match HeaderValue::try_from(path) {
        Ok(value) => value,
        Err(error) => unreachable!("an id is plain text: {error}"),
    }
}

fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// The id in a path.
pub(crate) fn parse_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(100).collect();
        Problem::new(Code::UnknownJob, format!("there is no job `{text}`"))
    })
}

fn parse_state(text: &str) -> Result<StateName, Problem> {
    let names = || StateName::ALL.iter().map(|state| state.as_str());
    StateName::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let hint = match nearest(text, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let text: String = text.chars().take(100).collect();
        invalid_query("state", &format!("`{text}` is not a state, {hint}"))
    })
}

/// The operation's name and its input, from the body of `POST /v1/jobs`.
fn split(body: Value) -> Result<(String, Value), Problem> {
    let refuse = |pointer: &str, detail: &str| {
        Problem::new(Code::InvalidInput, format!("the request {pointer} {detail}"))
            .with("errors", json!([{ "pointer": pointer, "detail": detail }]))
    };
    let Value::Object(mut fields) = body else {
        return Err(refuse("", "is not a JSON object"));
    };
    match fields.remove("operation") {
        Some(Value::String(operation)) => Ok((operation, Value::Object(fields))),
        Some(_) => Err(refuse("/operation", "is not a text")),
        None => Err(refuse("/operation", "is required")),
    }
}
