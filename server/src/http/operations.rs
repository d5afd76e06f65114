//! `/v1/operations`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use skep::job::{Caller, JobRequest, Start};

use crate::http::body::{self, Body};
use crate::http::jobs::location;
use crate::http::request::job_headers;
use crate::http::{Answer, Http};

impl Http {
    /// `GET /v1/operations`.
    pub(crate) fn list_operations(&self) -> Response<Body> {
        let operations: Vec<_> = self.router.operations().collect();
        body::json(StatusCode::OK, &json!({ "operations": operations }))
    }

    /// `GET /v1/operations/{name}`.
    pub(crate) fn show_operation(&self, name: &str) -> Answer {
        Ok(body::json(StatusCode::OK, self.router.operation(name)?))
    }

    /// `POST /v1/operations/{name}`: a job that belongs to this request, and is cancelled with it.
    pub(crate) async fn call_operation(&self, request: Request<Incoming>, name: &str) -> Answer {
        let mut job = JobRequest::new(name, Value::Null);
        job.caller = Caller::Client;
        job_headers(request.headers(), &mut job)?;
        // Its reader is here already.
        job.start = Start::Now;
        let streams = accepts_events(&request);
        // An unknown name is told before the body is read.
        self.router.operation(name)?;
        job.input = self.json_body(request).await?;
        let id = self.router.create_job(job).await?.id;
        let owner = self.router.cancel_on_drop(id);
        let mut response = if streams {
            self.events(id, 0, Some(owner)).await?
        } else {
            let job = self.router.wait(id, Duration::MAX).await?;
            body::json(StatusCode::OK, &job.state.result()?)
        };
        response.headers_mut().insert(header::LOCATION, location(id));
        Ok(response)
    }
}

fn accepts_events(request: &Request<Incoming>) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT).iter();
    accepts.filter_map(|value| value.to_str().ok()).any(|types| {
        let mut types = types.split(',').filter_map(|one| one.split(';').next());
        types.any(|one| one.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}
