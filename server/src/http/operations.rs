//! `/v1/operations`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use skep::RouterError;
use skep::job::{JobRequest, Start};

use crate::http::body::{self, Body};
use crate::http::jobs::location;
use crate::http::request::invalid_header;
use crate::http::{Answer, Http, job_headers};

impl Http {
    /// `GET /v1/operations`. Clients that keep it ask by its `ETag` whether it has changed.
    pub(crate) fn list_operations(&self, request: &Request<Incoming>) -> Response<Body> {
        let operations = self.router.operations();
        let operations: Vec<_> = operations.iter().map(|spec| &**spec).collect();
        body::tagged_json(request.headers(), &json!({ "operations": operations }))
    }

    /// `GET /v1/operations/{name}`.
    pub(crate) fn show_operation(&self, request: &Request<Incoming>, name: &str) -> Answer {
        Ok(body::tagged_json(request.headers(), &*self.router.operation(name)?))
    }

    /// `POST /v1/operations/{name}`: a job that belongs to this request, and is cancelled when the
    /// client goes away. One with an idempotency key belongs to nobody: its client may ask again for
    /// what it then gets, and others may wait for the same job.
    pub(crate) async fn call_operation(&self, request: Request<Incoming>, name: String) -> Answer {
        let mut job = JobRequest::new(name, Value::Null);
        job.caller = self.caller(request.headers())?;
        job_headers::read(request.headers(), &mut job)?;
        if let Start::At(_) = job.start {
            let detail = "this request waits for the job's end; POST /v1/jobs makes one that starts \
                          later";
            return Err(invalid_header("skep-run-at", detail).into());
        }
        // Its reader is here already.
        job.start = Start::Now;
        let streams = accepts_events(&request);
        // An unknown name is told before the body is read.
        self.router.operation(&job.operation)?;
        job.input = self.json_body(request).await?;
        job.attached = job.idempotency_key.is_none();
        let attached = job.attached;
        let job = self.router.create_job(job).await?;
        let id = job.id;
        let owner = attached.then(|| self.router.cancel_on_drop(id));
        let mut response = if streams {
            self.events(&job, 0, owner).await?
        } else {
            if !attached {
                // Its key may be that of a job which waits for its first reader.
                drop(self.router.execute_job(id, 0).await?);
            }
            let job = self.router.wait(id, Duration::MAX).await?;
            if !job.state.is_end() {
                // Only the server's own end cuts this wait short.
                return Err(RouterError::ShuttingDown.into());
            }
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
