//! HTTP: requests into calls of the router, and back. A file a resource; `paths.rs` says which path
//! is which.
//!
//! Nothing is decided here: what a job is and how it ends is the router's.

mod body;
mod caller;
mod events;
mod guard;
mod health;
mod job_headers;
mod jobs;
pub(crate) mod metrics;
mod operations;
mod paths;
mod plugins;
mod problem;
mod request;

use std::future::ready;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use metrics_exporter_prometheus::PrometheusHandle;
use skep::problem::Code;
use skep::{Problem, Router};

use self::body::Body;
use self::guard::Guard;
use self::jobs::parse_id;
use self::paths::{PathError, Paths, Resource, Target};
use self::problem::Refusal;
use crate::config::ServerConfig;

/// Answers requests for one router.
pub(crate) struct Http {
    router: Router,
    guard: Guard,
    /// The header that says who asks, where a proxy tells.
    caller_header: Option<String>,
    max_body: usize,
    body_timeout: Duration,
    paths: Paths,
    recorder: PrometheusHandle,
}

type Answer = Result<Response<Body>, Refusal>;

impl Http {
    /// Answers for `router`, as `config` says. Fails if plugins' routes are in each other's way.
    pub(crate) fn new(
        router: Router,
        recorder: PrometheusHandle,
        config: &ServerConfig,
    ) -> Result<Self, PathError> {
        let paths = Paths::new(&router)?;
        Ok(Self {
            router,
            guard: Guard::new(&config.hosts, &config.origins),
            caller_header: config.caller_header.clone(),
            max_body: config.max_body,
            body_timeout: *config.request_timeout,
            paths,
            recorder,
        })
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut response = match self.route(request) {
            Ok(answer) => answer.await.unwrap_or_else(Refusal::into_response),
            Err(refusal) => refusal.into_response(),
        };
        // No answer of an API is for a browser to guess about; or to keep, unless it says so.
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
        let no_store = header::HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
        response
    }

    /// Has the resource that is asked for answer.
    ///
    /// Boxed: a connection would keep the room for the largest answer's future as long as it lives, and
    /// most of them live to stream. Each resource by itself, as each has a future of its own size.
    fn route(&self, request: Request<Incoming>) -> Result<BoxFuture<'_, Answer>, Refusal> {
        self.guard.check(&request)?;
        // Shared, not copied: what the path names is borrowed from it.
        let uri = request.uri().clone();
        let Some(found) = self.paths.find(uri.path()) else {
            let detail = format!("there is nothing at {}", uri.path());
            return Err(Problem::new(Code::NotFound, detail).into());
        };
        let resource = match found.value {
            Target::Own(resource) => *resource,
            Target::Plugins(routes) => {
                let params = found.params.iter();
                let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
                return Ok(Box::pin(self.plugin_route(request, routes, params.collect())));
            }
        };
        let id = found.params.get("id").unwrap_or_default();
        // A HEAD is answered as a GET; hyper leaves the body out.
        let method = match *request.method() {
            Method::HEAD if resource.allow().contains("HEAD") => Method::GET,
            ref method => method.clone(),
        };
        Ok(match (resource, method) {
            (Resource::Jobs, Method::POST) => Box::pin(self.create_job(request)),
            (Resource::Jobs, Method::GET) => Box::pin(self.list_jobs(request)),
            (Resource::Job, Method::GET) => Box::pin(self.show_job(request, parse_id(id)?)),
            (Resource::Job, Method::DELETE) => Box::pin(self.cancel_job(parse_id(id)?)),
            (Resource::JobStream, Method::GET) => Box::pin(self.stream_job(request, parse_id(id)?)),
            (Resource::Operations, Method::GET) => at_once(Ok(self.list_operations(&request))),
            (Resource::Operation, Method::GET) => at_once(self.show_operation(&request, id)),
            (Resource::Operation, Method::POST) => {
                Box::pin(self.call_operation(request, id.to_owned()))
            }
            (Resource::Health, Method::GET) => Box::pin(self.health()),
            (Resource::Livez, Method::GET) => at_once(Ok(body::text("ok\n"))),
            (Resource::Readyz, Method::GET) => Box::pin(self.readyz()),
            (Resource::Metrics, Method::GET) => at_once(Ok(self.metrics())),
            (resource, _) => return Err(Refusal::method_not_allowed(resource.allow())),
        })
    }
}

/// An answer that nothing has to be waited for.
fn at_once(answer: Answer) -> BoxFuture<'static, Answer> {
    Box::pin(ready(answer))
}
