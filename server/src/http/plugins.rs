//! What plugins serve beside operations.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use skep::Problem;
use skep::problem::Code;
use tracing::error;

use crate::http::body::Body;
use crate::http::paths::{PluginRoute, Target};
use crate::http::problem::Refusal;
use crate::http::{Answer, Http};

impl Http {
    /// Has the route of the request's method answer.
    pub(crate) async fn plugin_route(
        &self,
        request: Request<Incoming>,
        routes: &[PluginRoute],
        params: Vec<(String, String)>,
    ) -> Answer {
        let of = |method: &Method| routes.iter().find(|one| one.route.method == *method);
        let found = match *request.method() {
            // A HEAD that has no route of its own is answered as a GET; hyper leaves the body out.
            Method::HEAD => of(&Method::HEAD).or_else(|| of(&Method::GET)),
            ref method => of(method),
        };
        let Some(found) = found else {
            return Err(Refusal::method_not_allowed(Target::allow(routes)));
        };
        let caller = self.caller(request.headers())?;
        let (head, body) = request.into_parts();
        let method = found.route.method.clone();
        let mut asked = skep::http::Request::new(method, head.uri, caller).with_params(params);
        asked.headers = head.headers;
        asked.body = self.body(body).await?;
        let answered = AssertUnwindSafe(found.route.answer(asked)).catch_unwind().await;
        match answered {
            Ok(Ok(mut response)) => {
                if matches!(response.body(), skep::http::Body::Stream(_)) {
                    // As for the server's own streams: nginx would gather them otherwise.
                    let no = HeaderValue::from_static("no");
                    response.headers_mut().entry("x-accel-buffering").or_insert(no);
                }
                Ok(response.map(|body| match body {
                    skep::http::Body::Whole(bytes) => Body::Whole(Full::new(bytes)),
                    skep::http::Body::Stream(stream) => {
                        Body::Stream(stream.map(|part| part.map_err(into_box)).boxed())
                    }
                }))
            }
            Ok(Err(error)) => Err(error.into_problem().into()),
            Err(_) => {
                error!("the route {:?} of plugin `{}` panicked", found.route, found.plugin);
                let detail = format!("the plugin `{}` panicked", found.plugin);
                Err(Problem::new(Code::Internal, detail).into())
            }
        }
    }
}

fn into_box(error: skep::OperationError) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error.into_problem())
}
