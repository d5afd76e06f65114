//! Durable Streams, a protocol of appends and reads over HTTP, by its server in Rust, embedded as its documentation says:
//! `durable_streams memory|file-durable|acid [DIR]`. It has no jobs: clients append, each message in a request.
//!
//! Logs, and the limits of memory and of a stream, are off. The requests that matter here, beside `GET /health`:
//!
//! ```text
//! PUT /v1/stream/NAME                  creates a stream: 201
//! Content-Type: application/json
//!
//! POST /v1/stream/NAME                 appends a message: 204 and `Stream-Next-Offset` once it's stored; an array
//! Content-Type: application/json       is appended as so many messages
//!
//! "0123456789"
//!
//! GET /v1/stream/NAME?offset=-1        all messages, in one body: 200, `["0123456789","0123456789"]`,
//!                                      and `Stream-Next-Offset` to go on from
//! ```

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use durable_streams_server::config::AcidBackend;
use durable_streams_server::{
    AcidStorage, Config, FileStorage, InMemoryStorage, Storage, build_router,
};
use skep_bench_peers::listen;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mode = arguments.next().unwrap_or_else(|| "memory".to_owned());
    let directory = arguments.next().unwrap_or_else(|| "durable-streams".to_owned());
    let shards = Config::default().storage.acid_shard_count;
    let all = u64::MAX;
    let app = match &*mode {
        "memory" => app(InMemoryStorage::new(all, all)),
        "file-durable" => app(FileStorage::new(directory, all, all, true)?),
        "acid" => app(AcidStorage::new(directory, shards, all, all, AcidBackend::File)?),
        _ => return Err(format!("no mode {mode}: memory, file-durable or acid").into()),
    };
    let app = app.route("/health", get("ok"));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listen().await?, app).await?)
}

fn app(storage: impl Storage + 'static) -> Router {
    build_router(Arc::new(storage), &Config::default())
}
