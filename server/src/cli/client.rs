//! A client of a server, for the commands that talk to one.

use std::fmt;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use skep::{JobId, Problem};
use tokio::time::{Instant, sleep};

use crate::cli::Error;
use crate::cli::events::Events;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may be silent: a stream has a sign of life every 15 s, and nothing else waits
/// longer than [`WAIT`].
const SILENCE: Duration = Duration::from_mins(1);

/// How long the server is asked to wait for a job's end, at a time.
const WAIT: &str = "30s";

/// The pause before it's asked again that has answered at once.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Client {
    http: reqwest::Client,
    server: String,
}

/// A job that the server has accepted.
#[derive(Deserialize)]
struct Accepted {
    job_id: JobId,
}

/// What the server refused, as it's told to a person.
#[derive(Debug)]
struct Refused(Problem);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.detail, self.0.code)
    }
}

impl std::error::Error for Refused {}

impl Client {
    pub(super) fn new(server: &str) -> Result<Self, Error> {
        if !server.starts_with("http://") {
            return Err(format!("`{server}` is not an http:// URL").into());
        }
        // Loopback and the local network: a proxy of the environment has no part in it.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned() })
    }

    pub(super) async fn show<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.read(self.http.get(self.url(path)).send().await).await
    }

    /// Runs an operation, waits for its end, and returns its result.
    pub(super) async fn call(&self, operation: &str, input: &Value) -> Result<Value, Error> {
        let url = self.url(&format!("/v1/operations/{operation}"));
        self.read(self.http.post(url).json(input).send().await).await
    }

    /// Makes a job and returns its id. `headers` say what isn't its input.
    pub(super) async fn create_job(
        &self,
        operation: &str,
        mut input: Map<String, Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<JobId, Error> {
        input.insert("operation".to_owned(), operation.into());
        let mut request = self.http.post(self.url("/v1/jobs")).json(&input);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.read::<Accepted>(request.send().await).await?.job_id)
    }

    /// Cancels a job. Returns whether it had not ended.
    pub(super) async fn cancel(&self, id: JobId) -> Result<bool, Error> {
        let url = self.url(&format!("/v1/jobs/{id}"));
        let response = self.answer(self.http.delete(url).send().await)?;
        match response.status() {
            StatusCode::CONFLICT => Ok(false),
            _ => self.read::<Value>(Ok(response)).await.map(|_| true),
        }
    }

    /// A job as it stands.
    pub(super) async fn job(&self, id: JobId) -> Result<Value, Error> {
        self.show(&format!("/v1/jobs/{id}")).await
    }

    /// A job as it stands when it has ended.
    pub(super) async fn ended(&self, id: JobId) -> Result<Value, Error> {
        loop {
            let asked = Instant::now();
            let job: Value = self.show(&format!("/v1/jobs/{id}?wait={WAIT}")).await?;
            if job["ended_at"].is_string() {
                return Ok(job);
            }
            // A job that waits for another server isn't waited for by this one.
            if asked.elapsed() < PAUSE {
                sleep(PAUSE).await;
            }
        }
    }

    /// The job's events, one by one.
    pub(super) fn events(&self, id: JobId) -> Events<'_> {
        Events::new(self, id)
    }

    /// The answer to a request for the job's events behind event `after`.
    pub(super) async fn stream(&self, id: JobId, after: u64) -> Result<Response, Error> {
        let url = self.url(&format!("/v1/jobs/{id}/stream"));
        let request = self.http.get(url).header("last-event-id", after.to_string());
        self.answer(request.send().await)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    fn answer(&self, sent: reqwest::Result<Response>) -> Result<Response, Error> {
        sent.map_err(|error| {
            if error.is_connect() {
                format!("no server answers at {}; start one with `skep serve`", self.server).into()
            } else {
                error.into()
            }
        })
    }

    async fn read<T: DeserializeOwned>(&self, sent: reqwest::Result<Response>) -> Result<T, Error> {
        let response = self.answer(sent)?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    /// What an answer refuses.
    pub(super) async fn refusal(&self, response: Response) -> Error {
        let status = response.status();
        match response.json().await {
            Ok(problem) => Refused(problem).into(),
            Err(_) => format!("{} answered {status}", self.server).into(),
        }
    }
}
