//! Refusals: problems as answers.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use skep::problem::Code;
use skep::{Problem, RouterError};

use crate::http::body::{Body, json_bytes};

/// A problem, and the headers that go with it.
pub(crate) struct Refusal {
    // Boxed: an answer is mostly none.
    problem: Box<Problem>,
    allow: Option<String>,
}

impl Refusal {
    /// `allow` are the methods that there are.
    pub(crate) fn method_not_allowed(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let problem = Problem::new(Code::MethodNotAllowed, format!("this resource has {allow}"));
        Self { allow: Some(allow), ..problem.into() }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(json_bytes(&*self.problem));
        *response.status_mut() =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(after) = self.problem.retry_after() {
            // Whole seconds (RFC 9110, 10.2.3); earlier than it's worth is a request in vain.
            let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), allow: None }
    }
}

impl From<RouterError> for Refusal {
    fn from(error: RouterError) -> Self {
        error.problem().into()
    }
}
