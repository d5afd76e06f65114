//! HTTP resources that a plugin serves beside its operations: another protocol's face, mostly.
//!
//! The server reads the request, under its limits and its checks of `Host` and `Origin`, and sends the
//! response. What runs for long, is to survive, or is to be cancelled belongs into a job: a route makes
//! it through the plugin's [`RouterHandle`](crate::plugin::RouterHandle), and streams it by
//! [`Body::frames`].
//!
//! ```
//! use skep::http::{self, Request, Response};
//! use skep::prelude::*;
//!
//! #[derive(Default)]
//! struct Motto;
//!
//! /// A word of the day.
//! #[skep::plugin(name = "motto")]
//! impl Motto {
//!     #[route(GET, "/v1/motto/{day}")]
//!     async fn motto(&self, request: Request) -> Result<Response> {
//!         Ok(http::json(&skep::json!({ "day": request.param("day"), "motto": "carpe diem" })))
//!     }
//! }
//! # fn main() {}
//! ```

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::error::{OperationError, Result};
use crate::job::{Caller, FrameReader};
use crate::problem::{Code, Problem};

/// A request to a plugin's route, read to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body: `server.max_body` bytes at most.
    pub body: Bytes,
    /// Who asks: for the jobs that are made in his name.
    pub caller: Caller,
    params: Vec<(String, String)>,
}

impl Request {
    /// A request of `method` to `uri`, without headers and body.
    pub fn new(method: Method, uri: Uri, caller: Caller) -> Self {
        let (headers, body, params) = (HeaderMap::new(), Bytes::new(), Vec::new());
        Self { method, uri, headers, body, caller, params }
    }

    /// The same, with what stands in the places of its path's names.
    #[must_use]
    pub fn with_params(self, params: Vec<(String, String)>) -> Self {
        Self { params, ..self }
    }

    /// What stands in the place of `{name}` in the route's path; empty if there's no such place.
    pub fn param(&self, name: &str) -> &str {
        let mut params = self.params.iter();
        params.find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// `invalid-json`, with line and column; `invalid-input` for JSON that isn't a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let code = if error.is_data() { Code::InvalidInput } else { Code::InvalidJson };
            let problem = Problem::new(code, error.to_string());
            problem.with("line", error.line()).with("column", error.column()).into()
        })
    }
}

/// What a route answers.
pub type Response = http::Response<Body>;

/// The body of a response.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// What comes, as it comes. An error breaks the response off.
    Stream(BoxStream<'static, Result<Bytes>>),
}

impl Body {
    /// The events of a job as Server-Sent Events, as [`Router::execute_job`](crate::Router::execute_job)
    /// gives them; what is in memory is shared, not copied. The type is `text/event-stream`.
    pub fn frames(reader: FrameReader) -> Self {
        Self::Stream(reader.map_err(OperationError::from).boxed())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

/// An answer of 200 with `value` as JSON.
///
/// # Panics
/// If `value` can't be JSON, as a map whose keys aren't texts.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type("application/json", Body::Whole(bytes.into())),
        Err(error) => panic!("an answer can't be JSON: {error}"),
    }
}

/// An answer of 200 with a body of a media type.
pub fn with_type(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A resource that a plugin serves: what `#[route(METHOD, "PATH")]` makes of a method.
#[derive(Clone)]
#[non_exhaustive]
pub struct Route {
    /// Its method. A `GET` is also asked for the heads of its answers.
    pub method: Method,
    /// Its path, where `{name}` stands for one segment and `{*name}` for the rest.
    pub path: &'static str,
    handler: Arc<Handler>,
}

type Handler = dyn Fn(Request) -> BoxFuture<'static, Result<Response>> + Send + Sync;

impl Route {
    /// Requests of `method` to `path` are answered by `handler`; its errors as problems.
    pub fn new<F>(
        method: Method,
        path: &'static str,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        Self { method, path, handler: Arc::new(move |request| Box::pin(handler(request))) }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The problem to answer with instead.
    pub async fn answer(&self, request: Request) -> Result<Response> {
        (self.handler)(request).await
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
