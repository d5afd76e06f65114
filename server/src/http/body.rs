//! Bodies of answers: JSON, and a job's events.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use skep::job::FrameReader;
use skep::router::CancelOnDrop;
use skep::store::StoreError;

/// How long a stream may be silent before a comment tells proxies that it's alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an answer.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Events(BoxStream<'static, Result<Bytes, StoreError>>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        match &mut *self {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Self::Events(events) => {
                events.poll_next_unpin(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// `value` as JSON.
pub(crate) fn json_bytes(value: &impl Serialize) -> Body {
    match serde_json::to_vec(value) {
        Ok(bytes) => Body::Whole(Full::new(bytes.into())),
        Err(error) => unreachable!("what the server answers with always serialises: {error}"),
    }
}

/// An answer of `status` with `value` as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    with_type(status, json_bytes(value), "application/json")
}

/// An answer of plain text.
pub(crate) fn text(text: &'static str) -> Response<Body> {
    let body = Body::Whole(Full::new(Bytes::from_static(text.as_bytes())));
    with_type(StatusCode::OK, body, "text/plain; charset=utf-8")
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Full::default()));
    *response.status_mut() = status;
    response
}

/// A job's events. `owner` cancels the job when the client goes away.
pub(crate) fn events(reader: FrameReader, owner: Option<CancelOnDrop>) -> Response<Body> {
    let stream = unfold((reader, owner), |(mut reader, owner)| async move {
        let next = tokio::select! {
            next = reader.next() => next.transpose()?,
            () = tokio::time::sleep(KEEP_ALIVE) => Ok(Bytes::from_static(b": keep-alive\n\n")),
        };
        Some((next, (reader, owner)))
    });
    let mut response = with_type(StatusCode::OK, Body::Events(stream.boxed()), "text/event-stream");
    // nginx would gather the events otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn with_type(status: StatusCode, body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
