//! The limit: hyper alone, HTTP/1.1 and HTTP/2, which hands out bytes that were there before it was asked.
//!
//! It keeps nothing: a job's id *is* its request, the value isn't looked at, and every event is a slice of one chunk of
//! about 40 KB, made at the start for the token that the load client sends. It counts nothing either: ids go from 1 to
//! the end of the chunk, and from 1 again. So there are no jobs that don't exist, no second thoughts about a request,
//! no replay, no limits; whatever does more than this has to cost something.
//!
//! `floor writing` writes each event when it's asked for, its id and its value as JSON: what the bytes cost that a
//! server has to say.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::Deserialize;
use skep_bench_peers::{interval, listening};
use tokio::net::TcpListener;
use tokio::time::Interval;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    LazyLock::force(&CHUNK);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async {
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
        });
    }
}

type Answer = Response<Either<Full<Bytes>, Events>>;

async fn answer(request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/jobs") => create(request.into_body()).await,
        (&Method::GET, "/health") => whole(StatusCode::OK, "text/plain", "ok"),
        (&Method::GET, path) => stream(path),
        _ => whole(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET or POST"),
    }
}

/// What a job is asked to do, as far as it matters here.
#[derive(Deserialize)]
struct Work {
    count: u64,
    #[serde(default)]
    interval_us: u64,
}

async fn create(body: Incoming) -> Answer {
    let Ok(body) = body.collect().await else {
        return whole(StatusCode::BAD_REQUEST, "text/plain", "half a body");
    };
    match serde_json::from_slice::<Work>(&body.to_bytes()) {
        Ok(Work { count, interval_us }) => {
            let id = format!("{count}-{interval_us}");
            let created = format!(r#"{{"job_id":"{id}","sse_url":"/v1/jobs/{id}/stream"}}"#);
            whole(StatusCode::CREATED, "application/json", created)
        }
        Err(error) => whole(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
    }
}

fn stream(path: &str) -> Answer {
    let Ok(events) = path.parse() else {
        return whole(StatusCode::NOT_FOUND, "text/plain", "no such job");
    };
    let mut answer = Response::new(Either::Right(events));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Events as they go out, and where each of them ends.
static CHUNK: LazyLock<(Bytes, Vec<usize>)> = LazyLock::new(|| {
    let mut text = String::new();
    let mut ends = Vec::new();
    while text.len() < 40_000 {
        text += &format!("id: {}\ndata: \"0123456789\"\n\n", ends.len() + 1);
        ends.push(text.len());
    }
    (text.into(), ends)
});

/// The token that the load client sends.
const VALUE: &str = "0123456789";

/// Whether events are written anew.
static IS_WRITING: LazyLock<bool> =
    LazyLock::new(|| env::args().nth(1).is_some_and(|argument| argument == "writing"));

/// So many events, the first of this id.
fn written(first: u64, count: u64) -> Bytes {
    let mut frames = Vec::with_capacity(48_000);
    let mut digits = itoa::Buffer::new();
    for id in first..first + count {
        frames.extend_from_slice(b"id: ");
        frames.extend_from_slice(digits.format(id).as_bytes());
        frames.extend_from_slice(b"\ndata: ");
        serde_json::to_writer(&mut frames, VALUE).expect("a text is JSON, and a vector takes it");
        frames.extend_from_slice(b"\n\n");
    }
    frames.into()
}

/// The events of a job: `left` of them.
struct Events {
    left: u64,
    /// How many have gone out.
    sent: u64,
    /// Where the next one is in the chunk. It's the first if events go out by the chunk.
    next: usize,
    interval: Option<Interval>,
}

impl FromStr for Events {
    type Err = Box<dyn Error>;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let id = path.strip_prefix("/v1/jobs/").and_then(|path| path.strip_suffix("/stream"));
        let (count, microseconds) = id.and_then(|id| id.split_once('-')).ok_or("another path")?;
        let interval = interval(microseconds.parse()?);
        Ok(Self { left: count.parse()?, sent: 0, next: 0, interval })
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (chunk, ends) = &*CHUNK;
        let from = self.next;
        let count = match &mut self.interval {
            Some(interval) => {
                ready!(interval.poll_tick(context));
                1
            }
            None => usize::try_from(self.left).map_or(ends.len(), |left| left.min(ends.len())),
        };
        let first = self.sent + 1;
        self.left -= count as u64;
        self.sent += count as u64;
        if *IS_WRITING {
            return Poll::Ready(Some(Ok(Frame::data(written(first, count as u64)))));
        }
        self.next = (from + count) % ends.len();
        let start = from.checked_sub(1).map_or(0, |before| ends[before]);
        Poll::Ready(Some(Ok(Frame::data(chunk.slice(start..ends[from + count - 1])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}
