//! A client of a server, for the commands that talk to one.

use std::fmt;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skep::Problem;
use skep::job::Event;
use tokio::time::sleep;

use crate::cli::Error;
use crate::cli::sse::Reader;

/// How often a stream that breaks off is taken up again before that is an error.
const RECONNECTS: u32 = 5;

/// How long to wait before that, times the number of tries.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Client {
    http: reqwest::Client,
    server: String,
}

/// A job that the server has accepted.
#[derive(Deserialize)]
pub(super) struct Accepted {
    pub(super) job_id: String,
    sse_url: String,
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
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned() })
    }

    pub(super) async fn show<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.read(self.http.get(self.url(path)).send().await).await
    }

    pub(super) async fn create_job(
        &self,
        operation: &str,
        mut input: serde_json::Map<String, Value>,
        timeout: Option<&str>,
    ) -> Result<Accepted, Error> {
        input.insert("operation".to_owned(), operation.into());
        let mut request = self.http.post(self.url("/v1/jobs")).json(&input);
        if let Some(timeout) = timeout {
            request = request.header("skep-timeout", timeout);
        }
        self.read(request.send().await).await
    }

    pub(super) async fn cancel(&self, job: &Accepted) -> Result<(), Error> {
        let url = self.url(&format!("/v1/jobs/{}", job.job_id));
        let response = self.answer(self.http.delete(url).send().await)?;
        match response.status() {
            // It has ended in the meantime: the stream tells how.
            StatusCode::CONFLICT => Ok(()),
            _ => self.read::<Value>(Ok(response)).await.map(drop),
        }
    }

    /// The job's events, one by one. A connection that breaks off is taken up again.
    pub(super) fn events(&self, job: &Accepted) -> Events<'_> {
        Events { client: self, url: self.url(&job.sse_url), last: 0, open: None, tries: 0 }
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
        let status = response.status();
        let body = response.bytes().await?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body)?);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(Refused(problem).into()),
            Err(_) => Err(format!("{} answered {status}", self.server).into()),
        }
    }
}

/// A job's events, from [`Client::events`].
pub(super) struct Events<'a> {
    client: &'a Client,
    url: String,
    last: u64,
    open: Option<Reader>,
    tries: u32,
}

impl Events<'_> {
    /// The next event; `None` behind the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if self.open.is_none() && !self.connect().await? {
                return Ok(None);
            }
            let Some(reader) = &mut self.open else { continue };
            match reader.next().await {
                Ok(Some(event)) => {
                    (self.last, self.tries) = (event.id, 0);
                    return Ok(Some(event));
                }
                Ok(None) | Err(_) => self.open = None,
            }
        }
    }

    /// Opens the stream behind the last event. Returns whether there is more.
    async fn connect(&mut self) -> Result<bool, Error> {
        let request =
            self.client.http.get(&self.url).header("last-event-id", self.last.to_string());
        match self.client.answer(request.send().await) {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => return Ok(false),
            Ok(response) if response.status().is_success() => {
                self.open = Some(Reader::new(response));
                // A stream that opens and breaks off without an event counts as a try.
                self.tries += 1;
            }
            Ok(response) => return self.client.read::<Value>(Ok(response)).await.map(|_| false),
            Err(error) if self.tries >= RECONNECTS => return Err(error),
            Err(_) => {
                self.tries += 1;
                sleep(RECONNECT_PAUSE * self.tries).await;
            }
        }
        if self.tries > RECONNECTS {
            return Err(format!("the stream of {} breaks off again and again", self.url).into());
        }
        Ok(true)
    }
}
