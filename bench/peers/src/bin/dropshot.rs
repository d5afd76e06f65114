//! Typed endpoints in dropshot, which describes them too, over the map of jobs of `before`.
//!
//! Dropshot has no Server-Sent Events: they are written by hand, and without keep-alive comments. It opens its sockets
//! itself and offers no way to switch Nagle's algorithm off, so that the second of two small writes may wait for the
//! client's acknowledgement. It speaks HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use dropshot::{
    ApiDescription, Body, ConfigDropshot, ConfigLogging, ConfigLoggingLevel, HttpError,
    HttpResponseCreated, Path, RequestContext, ServerBuilder, TypedBody, endpoint,
};
use http::Response;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::StreamBody;
use schemars::JsonSchema;
use serde::Deserialize;
use skep_bench_peers::{Created, Echo, Jobs, listening};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut api = ApiDescription::new();
    api.register(create)?;
    api.register(stream)?;
    api.register(health)?;
    let level = ConfigLoggingLevel::Critical;
    let log = ConfigLogging::StderrTerminal { level }.to_logger("peer")?;
    let config =
        ConfigDropshot { default_request_body_max_bytes: 1 << 20, ..ConfigDropshot::default() };
    let server = ServerBuilder::new(api, Jobs::default(), log).config(config).start()?;
    listening(server.local_addr())?;
    Ok(server.await?)
}

type Context = RequestContext<Jobs<Bytes>>;

#[endpoint { method = POST, path = "/v1/jobs" }]
async fn create(
    context: Context,
    echo: TypedBody<Echo>,
) -> Result<HttpResponseCreated<Created>, HttpError> {
    let created = context
        .context()
        .create(echo.into_inner(), |id, value| format!("id: {id}\ndata: {value}\n\n").into());
    Ok(HttpResponseCreated(created))
}

#[derive(Deserialize, JsonSchema)]
struct JobPath {
    id: u64,
}

#[endpoint { method = GET, path = "/v1/jobs/{id}/stream" }]
async fn stream(context: Context, path: Path<JobPath>) -> Result<Response<Body>, HttpError> {
    let events = context.context().read(path.into_inner().id);
    let events = events.ok_or_else(|| HttpError::for_not_found(None, "no such job".to_owned()))?;
    let frames = UnboundedReceiverStream::new(events).map(Frame::data).map(Ok::<_, Infallible>);
    let body = Body::wrap(StreamBody::new(frames));
    Ok(Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body)?)
}

#[endpoint { method = GET, path = "/health" }]
async fn health(_: Context) -> Result<Response<Body>, HttpError> {
    Ok(Response::new(Body::with_content("ok")))
}
