//! Bodies of answers: JSON, and a job's events.

use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::http::events::Events;

/// Why a body breaks off.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => {
                stream.poll_next_unpin(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// `value` as JSON.
pub(crate) fn json_bytes(value: &impl Serialize) -> Body {
    Body::Whole(Full::new(to_json(value).into()))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("what the server answers with always serialises: {error}"),
    }
}

/// An answer of `status` with `value` as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    with_type(status, json_bytes(value), "application/json")
}

/// An answer with `value` as JSON, which the client may keep and ask for anew by its tag; without it
/// if the client's is still the same (RFC 9110, 13.1.2).
pub(crate) fn tagged_json(request: &HeaderMap, value: &impl Serialize) -> Response<Body> {
    let bytes = to_json(value);
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let is_known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    let mut response = if is_known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        with_type(StatusCode::OK, Body::Whole(Full::new(bytes.into())), "application/json")
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// An answer of plain text.
pub(crate) fn text(text: impl Into<Bytes>) -> Response<Body> {
    with_type(StatusCode::OK, Body::Whole(Full::new(text.into())), "text/plain; charset=utf-8")
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Full::default()));
    *response.status_mut() = status;
    response
}

/// A job's events.
pub(crate) fn events(events: Events) -> Response<Body> {
    let body = Body::Stream(events.map_err(Into::into).boxed());
    let mut response = with_type(StatusCode::OK, body, "text/event-stream");
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
