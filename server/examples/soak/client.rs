//! HTTP to whichever server there is.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use skep::JobId;
use tokio::sync::watch;

use crate::order::Order;

/// How long an answer may take, or be silent, before a client gives up on the connection: a stream
/// has a sign of life every 15 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Where the server is; empty while there is none.
    url: watch::Receiver<String>,
}

/// How a job is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) key: Option<String>,
    pub(crate) priority: Option<&'static str>,
    pub(crate) run_at: Option<String>,
    /// Whether it starts with its first reader.
    pub(crate) on_stream: bool,
}

/// What a request for a job came to.
pub(crate) enum Posted {
    Accepted(JobId),
    /// With 429 or 503, and when to ask again.
    Refused,
    /// The connection broke: it's not known whether there's a job.
    Lost,
    /// With a status that must not be.
    Wrong(String),
}

impl Client {
    pub(crate) fn new(url: watch::Receiver<String>) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().pool_idle_timeout(PATIENCE);
        Ok(Self { http: http.read_timeout(PATIENCE).build()?, url })
    }

    /// A request to the server, once there is one.
    pub(crate) async fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        // The sender lives as long as the run.
        let url = url
            .wait_for(|url| !url.is_empty())
            .await
            .map_or_else(|_| String::new(), |url| url.clone());
        self.http.request(method, format!("{url}{path}"))
    }

    pub(crate) async fn post(&self, order: &Order, wish: &Wish) -> Posted {
        let mut body = order.input.clone();
        body["operation"] = order.operation.into();
        let mut request = self.request(Method::POST, "/v1/jobs").await.json(&body);
        request = request.timeout(PATIENCE);
        let headers = [
            ("idempotency-key", wish.key.as_deref()),
            ("skep-priority", wish.priority),
            ("skep-run-at", wish.run_at.as_deref()),
            ("skep-timeout", order.timeout()),
            ("skep-start", wish.on_stream.then_some("on-stream")),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let Ok(response) = request.send().await else { return Posted::Lost };
        match response.status().as_u16() {
            201 => {}
            _ if is_refusal(&response) => return Posted::Refused,
            _ => return Posted::Wrong(describe(response).await),
        }
        // Its head holds the id: an answer whose body is cut off has been given.
        match job_of(&response) {
            Some(id) => Posted::Accepted(id),
            None => Posted::Wrong(describe(response).await),
        }
    }

    /// A job's events after one.
    pub(crate) async fn stream(&self, id: JobId, after: u64) -> reqwest::Result<Response> {
        let path = format!("/v1/jobs/{id}/stream");
        let request = self.request(Method::GET, &path).await;
        request.header("last-event-id", after.to_string()).send().await
    }
}

/// Whether an answer puts its client off, and says until when.
pub(crate) fn is_refusal(response: &Response) -> bool {
    let after = response.headers().get("retry-after").and_then(|after| after.to_str().ok());
    let seconds = after.and_then(|after| after.parse::<u64>().ok());
    matches!(response.status().as_u16(), 429 | 503) && seconds >= Some(1)
}

/// The job that an answer's `Location` names.
pub(crate) fn job_of(response: &Response) -> Option<JobId> {
    let location = response.headers().get("location")?.to_str().ok()?;
    location.strip_prefix("/v1/jobs/")?.parse().ok()
}

/// An answer, for people.
pub(crate) async fn describe(response: Response) -> String {
    let status = response.status();
    format!("{status}: {}", response.text().await.unwrap_or_default())
}

/// A frame as it came.
pub(crate) struct Frame<'a> {
    pub(crate) id: u64,
    /// Its `event:` field, empty if there's none.
    pub(crate) event: &'a str,
    pub(crate) data: &'a str,
    /// Of its whole text.
    pub(crate) hash: u64,
}

/// Takes the whole frames off the front of `buffer`, and leaves what isn't whole yet.
pub(crate) fn take_frames(buffer: &mut Vec<u8>, mut each: impl FnMut(Frame<'_>)) {
    let mut taken = 0;
    while let Some(length) = buffer[taken..].windows(2).position(|two| two == b"\n\n") {
        let frame = &buffer[taken..taken + length];
        taken += length + 2;
        // What isn't text isn't what was sent, and shows as an id that is missing.
        if let Some(frame) = std::str::from_utf8(frame).ok().and_then(parse) {
            each(frame);
        }
    }
    buffer.drain(..taken);
}

/// A frame from its text; `None` for a comment.
fn parse(text: &str) -> Option<Frame<'_>> {
    let (mut id, mut event, mut data) = (None, "", "");
    for line in text.lines() {
        match line.split_once(": ")? {
            ("id", value) => id = value.parse().ok(),
            ("event", value) => event = value,
            ("data", value) => data = value,
            _ => {}
        }
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(Frame { id: id?, event, data, hash: hasher.finish() })
}
