//! What one would write without Skep: axum's `Sse` over an unbounded channel, and a map of the jobs whose streams
//! nobody reads yet.
//!
//! It leaves out what Skep is for: a job has no state, its events are gone once sent, a reader that comes late or again
//! gets a 404, a slow one fills the memory, and nothing is stored.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use skep_bench_peers::{Created, Echo, Jobs, listen};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/v1/jobs", post(create))
        .route("/v1/jobs/{id}/stream", get(stream))
        .route("/health", get("ok"))
        .with_state(Arc::new(Jobs::default()));
    Ok(axum::serve(listen().await?, app).await?)
}

async fn create(
    State(jobs): State<Arc<Jobs<Event>>>,
    Json(echo): Json<Echo>,
) -> (StatusCode, Json<Created>) {
    let created = jobs.create(echo, |id, value| {
        let event = Event::default().id(id.to_string());
        event.json_data(value).expect("what came as JSON can be written as JSON")
    });
    (StatusCode::CREATED, Json(created))
}

async fn stream(
    State(jobs): State<Arc<Jobs<Event>>>,
    Path(id): Path<u64>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let events = jobs.read(id).ok_or(StatusCode::NOT_FOUND)?;
    let events = UnboundedReceiverStream::new(events).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
