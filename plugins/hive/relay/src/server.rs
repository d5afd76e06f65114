//! Another Skep server: what it's asked over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skep::job::{Priority, Start};
use skep::operation::Hints;
use skep::placement::Placement;
use skep::{JobId, OperationSpec, Problem};
use tokio::time::timeout;

use crate::address::Address;
use crate::connection::{Body, Connections};
use crate::failure::Failure;
use crate::frames::Frames;

/// How long the head of an answer, and all of one that isn't a stream, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that isn't a stream, bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Another Skep server. Clones share its connections.
#[derive(Clone)]
pub struct Server {
    authority: String,
    connections: Connections,
}

/// A job that another server is to do.
#[derive(Clone, Debug)]
pub struct JobOrder<'a> {
    /// Its operation's name.
    pub operation: &'a str,
    /// Its input, a JSON object.
    pub input: &'a Value,
    /// The key by which it's known there: ordered twice, it's done once.
    pub key: &'a str,
    /// Which jobs it goes before there.
    pub priority: Priority,
    /// When it starts there, if it isn't there already.
    pub start: Start,
    /// The longest that it may take.
    pub timeout: Option<Duration>,
    /// How many servers have handed it on, this one included.
    pub hops: u32,
}

impl Server {
    /// The server at `address`. Nothing is asked yet.
    pub fn new(address: Address) -> Self {
        Self { authority: address.authority(), connections: Connections::new(address) }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        self.connections.address()
    }

    /// Gets `path` as JSON.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.ask(Method::GET, path, Bytes::new(), &[]).await?;
        read(response).await
    }

    /// Its operations, as it describes them.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn operations(&self) -> Result<Vec<OperationSpec>, Failure> {
        #[derive(Deserialize)]
        struct Served {
            operations: Vec<Described>,
        }
        let Served { operations } = self.get("/v1/operations").await?;
        Ok(operations.into_iter().map(Described::into_spec).collect())
    }

    /// Has it do a job, and returns the job's id there. Asked again with the same key, it's the same
    /// job.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn order(&self, order: &JobOrder<'_>) -> Result<JobId, Failure> {
        #[derive(Deserialize)]
        struct Accepted {
            job_id: JobId,
        }
        let mut body = json!({ "operation": order.operation });
        if let (Some(body), Some(input)) = (body.as_object_mut(), order.input.as_object()) {
            body.extend(input.clone());
        }
        let hops = order.hops.to_string();
        let timeout = order.timeout.map(|timeout| format!("{}ms", timeout.as_millis().max(1)));
        let mut headers = vec![
            ("content-type", "application/json"),
            ("idempotency-key", order.key),
            ("skep-hops", &hops),
            ("skep-priority", order.priority.as_str()),
        ];
        headers.extend(timeout.as_deref().map(|timeout| ("skep-timeout", timeout)));
        let run_at = match order.start {
            Start::At(time) => Some(time.to_string()),
            Start::Now | Start::OnStream => None,
        };
        headers.extend(run_at.as_deref().map(|time| ("skep-run-at", time)));
        if order.start == Start::OnStream {
            headers.push(("skep-start", "on-stream"));
        }
        let body = Bytes::from(body.to_string());
        let response = self.ask(Method::POST, "/v1/jobs", body, &headers).await?;
        Ok(read::<Accepted>(response).await?.job_id)
    }

    /// Cancels a job. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn cancel(&self, id: JobId) -> Result<(), Failure> {
        let path = format!("/v1/jobs/{id}");
        match self.ask(Method::DELETE, &path, Bytes::new(), &[]).await {
            Err(Failure::Refused(problem)) if matches!(problem.status, 404 | 409) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The events of a job behind event `after`; `None` if there are no more.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn events_of(&self, id: JobId, after: u64) -> Result<Option<Frames>, Failure> {
        self.events(&format!("/v1/jobs/{id}/stream?after={after}")).await
    }

    /// The events that `path` streams; `None` if it says that there are no more.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn events(&self, path: &str) -> Result<Option<Frames>, Failure> {
        let accept = [("accept", "text/event-stream")];
        let response = self.ask(Method::GET, path, Bytes::new(), &accept).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        Ok(Some(Frames::new(response.into_body())))
    }

    /// Asks, and has a refusal be an error.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Body>, Failure> {
        let cant_be_asked = |what: String| Failure::Foreign(format!("it can't be asked: {what}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .body(Full::new(body))
            .map_err(|error| cant_be_asked(error.to_string()))?;
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value);
            let value = value.map_err(|error| cant_be_asked(format!("{name}: {error}")))?;
            request.headers_mut().insert(*name, value);
        }
        let response = match timeout(PATIENCE, self.connections.send(request)).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Failure::Broken(format!("nothing within {PATIENCE:?}"))),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }
}

/// What an answer refuses.
async fn refusal(response: Response<Body>) -> Failure {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
    if is_problem && let Ok(problem) = read::<Problem>(response).await {
        return Failure::Refused(problem);
    }
    // A proxy before a server that isn't there.
    if status.is_server_error() {
        return Failure::Broken(format!("status {status}"));
    }
    Failure::Foreign(format!("status {status}, and no problem of Skep's"))
}

async fn read<T: DeserializeOwned>(response: Response<Body>) -> Result<T, Failure> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
    let body = match timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Failure::Broken(error.to_string())),
        Err(_) => return Err(Failure::Broken(format!("not all of it within {PATIENCE:?}"))),
    };
    serde_json::from_slice(&body).map_err(|error| Failure::Foreign(error.to_string()))
}

/// An operation as a server describes it.
#[derive(Deserialize)]
struct Described {
    name: String,
    summary: String,
    #[serde(default)]
    description: String,
    deprecated: Option<String>,
    input_schema: Value,
    output_schema: Value,
    emits_schema: Option<Value>,
    hints: DescribedHints,
    placement: Option<Placement>,
}

#[derive(Deserialize)]
struct DescribedHints {
    read_only: bool,
    idempotent: bool,
    destructive: bool,
}

impl Described {
    fn into_spec(self) -> OperationSpec {
        let mut hints = Hints::default();
        hints.read_only = self.hints.read_only;
        hints.idempotent = self.hints.idempotent;
        hints.destructive = self.hints.destructive;
        let mut spec = OperationSpec::new(self.name, self.summary);
        spec.description = self.description;
        spec.deprecated = self.deprecated;
        spec.input_schema = self.input_schema;
        spec.output_schema = self.output_schema;
        spec.emits_schema = self.emits_schema;
        spec.hints = hints;
        spec.placement = self.placement;
        spec
    }
}
