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

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use metrics_exporter_prometheus::PrometheusHandle;
use skep::problem::Code;
use skep::{Problem, Router};

use self::body::Body;
use self::guard::Guard;
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
        // Boxed: a connection keeps the room for an answer's future as long as it lives, and most of
        // them live to stream.
        let mut response = match Box::pin(self.route(request)).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        // No answer of an API is for a browser to guess about; or to keep, unless it says so.
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
        let no_store = header::HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
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
                return self.plugin_route(request, routes, &found.params).await;
            }
        };
        let id = found.params.get("id").unwrap_or_default();
        // A HEAD is answered as a GET; hyper leaves the body out.
        let method = match *request.method() {
            Method::HEAD if resource.allow().contains("HEAD") => Method::GET,
            ref method => method.clone(),
        };
        match (resource, method) {
            (Resource::Jobs, Method::POST) => self.create_job(request).await,
            (Resource::Jobs, Method::GET) => self.list_jobs(&request).await,
            (Resource::Job, Method::GET) => self.show_job(&request, id).await,
            (Resource::Job, Method::DELETE) => self.cancel_job(id).await,
            (Resource::JobStream, Method::GET) => self.stream_job(&request, id).await,
            (Resource::Operations, Method::GET) => Ok(self.list_operations(&request)),
            (Resource::Operation, Method::GET) => self.show_operation(&request, id),
            (Resource::Operation, Method::POST) => self.call_operation(request, id).await,
            (Resource::Health, Method::GET) => Ok(self.health().await),
            (Resource::Livez, Method::GET) => Ok(body::text("ok\n")),
            (Resource::Readyz, Method::GET) => self.readyz().await,
            (Resource::Metrics, Method::GET) => Ok(self.metrics()),
            (resource, _) => Err(Refusal::method_not_allowed(resource.allow())),
        }
    }
}
