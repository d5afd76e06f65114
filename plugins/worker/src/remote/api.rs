//! OpenAI's protocol, as llama.cpp's server and others speak it: completions, streamed.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring::default_provider;
use serde::Deserialize;
use serde_json::{Value, json};
use skep::prelude::*;
use skep::problem::Problem;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::milliseconds;
use crate::protocol::{Answer, FinishReason, Generate, Prompt, Say, Timings, Token, Usage};

/// The code of a server that doesn't answer, or not as it should.
const FAILED: &str = "backend-failed";

/// How long an answer that isn't a stream may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// After how long a silent connection is probed. A server may think for long before it answers, but its
/// machine answers probes: one that has lost its power or its network is noticed within a minute.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// How often it's probed then, and how many probes without an answer end it.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// How much of a refusal is read, bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// The longest line of a stream, bytes.
const MAX_LINE: usize = 1024 * 1024;

/// A server that speaks OpenAI's protocol.
pub(crate) struct Api {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    model: String,
    /// What proves who asks, if it wants that.
    authorization: Option<HeaderValue>,
    /// Whether it's llama.cpp's, which takes more than OpenAI's does.
    is_llama: bool,
}

/// A piece of a streamed completion.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<ChunkUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    /// Of a completion.
    #[serde(default)]
    text: Option<String>,
    /// Of a chat.
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names, reason = "the protocol's names")]
struct ChunkUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: usize,
}

impl Api {
    /// The llama.cpp server at `url`.
    pub(crate) fn of_llama(url: &str) -> Result<Self, Problem> {
        Ok(Self { is_llama: true, ..Self::new(url, String::new(), None)? })
    }

    /// The server at `url`, what it calls the model, and the key that it wants.
    pub(crate) fn new(url: &str, model: String, api_key: Option<&str>) -> Result<Self, Problem> {
        let bearer = |key| HeaderValue::try_from(format!("Bearer {key}"));
        let mut authorization = api_key
            .map(bearer)
            .transpose()
            .map_err(|_| failed(format!("the key for `{url}` (`api_keys`) can't be sent")))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(default_provider())
            .map_err(|error| failed(format!("the system trusts no certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(probed());
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, model, authorization, is_llama: false })
    }

    /// Whether it has loaded its model: llama.cpp's way to say so.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = timeout(PATIENCE, self.ask(Method::GET, "/health", None)).await;
        matches!(asked, Ok(Ok(response)) if response.status().is_success())
    }

    /// Checks that it answers, and has the model, as far as it tells.
    pub(crate) async fn check(&self) -> Result<(), Problem> {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let asked = timeout(PATIENCE, self.ask(Method::GET, "/v1/models", None)).await;
        let response = asked.map_err(|_| failed(format!("nothing within {PATIENCE:?}")))??;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(response).await);
        }
        let body = Limited::new(response.into_body(), MAX_LINE).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        let Ok(Models { data }) = serde_json::from_slice(&body) else {
            return Err(failed("it doesn't speak OpenAI's protocol (`/v1/models`)".to_owned()));
        };
        if data.iter().any(|known| known.id == self.model) {
            return Ok(());
        }
        let known: Vec<_> = data.into_iter().map(|known| known.id).collect();
        let detail = format!("it has no model `{}`; it has {}", self.model, known.join(", "));
        Err(OperationError::new("unknown-model", detail).with_status(404).into_problem())
    }

    /// Whether the server is a process of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_llama
    }

    /// Whether the problem may be that the server, which is a process of ours, has died.
    pub(crate) fn may_have_died(&self, problem: &Problem) -> bool {
        self.is_llama && problem.code == FAILED
    }

    /// Generates a text, and tells it as it comes. A request that is cancelled ends at the next piece,
    /// and there, too: its connection is closed.
    pub(crate) async fn infer(
        &self,
        generate: Generate,
        cancel: &CancellationToken,
        mut tell: impl FnMut(Say),
    ) -> Result<Answer, Problem> {
        let begun = Instant::now();
        let mut answer = Answer::empty();
        let mut first: Option<Instant> = None;
        let stream = async {
            let (path, body) = self.request(generate);
            let response = self.ask(Method::POST, path, Some(&body)).await?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            let mut lines = Lines { body: response.into_body(), buffer: Vec::new() };
            while let Some(line) = lines.next().await? {
                let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
                if data == "[DONE]" {
                    return Ok(true);
                }
                let chunk: Chunk = serde_json::from_str(data)
                    .map_err(|error| failed(format!("a piece can't be read: {error}")))?;
                if let Some(error) = chunk.error {
                    return Err(failed(words(&error)));
                }
                if let Some(usage) = chunk.usage {
                    let cached_tokens =
                        usage.prompt_tokens_details.map_or(0, |details| details.cached_tokens);
                    let (prompt_tokens, completion_tokens) =
                        (usage.prompt_tokens, usage.completion_tokens);
                    answer.usage = Usage { prompt_tokens, completion_tokens, cached_tokens };
                }
                for choice in chunk.choices {
                    let text = choice.text.or_else(|| choice.delta.and_then(|delta| delta.content));
                    if let Some(text) = text.filter(|text| !text.is_empty()) {
                        first.get_or_insert_with(Instant::now);
                        answer.text += &text;
                        tell(Say::Emit(crate::stdout::json(&Token { text })));
                    }
                    if choice.finish_reason.as_deref() == Some("length") {
                        answer.finish_reason = FinishReason::Length;
                    }
                }
            }
            Ok(false)
        };
        let ended = tokio::select! {
            ended = stream => Some(ended?),
            () = cancel.cancelled() => None,
        };
        match ended {
            Some(true) => {}
            Some(false) => return Err(failed("the answer broke off".to_owned())),
            None => answer.finish_reason = FinishReason::Cancelled,
        }
        let first = first.unwrap_or_else(Instant::now);
        let generation = first.elapsed();
        #[allow(clippy::cast_precision_loss, reason = "nobody generates 2^52 tokens")]
        let tokens = answer.usage.completion_tokens as f64;
        answer.timings = Timings {
            prompt_ms: milliseconds(first - begun),
            generation_ms: milliseconds(generation),
            tokens_per_second: if generation.is_zero() {
                0.0
            } else {
                tokens / generation.as_secs_f64()
            },
        };
        Ok(answer)
    }

    /// The path and the body of a request.
    fn request(&self, generate: Generate) -> (&'static str, Value) {
        let Generate { input, max_tokens, temperature, top_p, top_k, seed, stop } = generate;
        let mut body = json!({
            "model": self.model,
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": temperature,
            "top_p": top_p,
        });
        let path = match input {
            Prompt::Prompt(text) => {
                body["prompt"] = text.into();
                "/v1/completions"
            }
            Prompt::Messages(messages) => {
                body["messages"] = crate::stdout::json(&messages);
                "/v1/chat/completions"
            }
        };
        if let Some(max_tokens) = max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        if let Some(seed) = seed {
            // A 32-bit number there, in llama.cpp's case.
            body["seed"] = (seed & u64::from(u32::MAX)).into();
        }
        if !stop.is_empty() {
            body["stop"] = stop.into();
        }
        if self.is_llama {
            body["top_k"] = top_k.into();
            body["cache_prompt"] = true.into();
        }
        (path, body)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Problem> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(format!("`{}` is no URL: {error}", self.url)))?;
        self.http.request(request).await.map_err(|error| {
            let mut cause: &dyn Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            failed(format!("it can't be asked: {cause}"))
        })
    }
}

/// Connections that end with an error when the other machine is gone, however long an answer may take.
fn probed() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is the caller's.
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_PATIENCE));
    connector.set_keepalive(Some(PROBE_AFTER));
    connector.set_keepalive_interval(Some(PROBE_EVERY));
    connector.set_keepalive_retries(Some(PROBES));
    // What was sent and isn't acknowledged isn't probed, but sent again: by itself for a quarter of an hour.
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(PROBE_AFTER + PROBES * PROBE_EVERY));
    connector
}

impl Answer {
    fn empty() -> Self {
        Self {
            text: String::new(),
            finish_reason: FinishReason::Stop,
            usage: Usage { prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0 },
            timings: Timings { prompt_ms: 0, generation_ms: 0, tokens_per_second: 0.0 },
        }
    }
}

/// The lines of an answer.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line, without its end; `None` behind the last one.
    async fn next(&mut self) -> Result<Option<String>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(failed(format!("a line has more than {MAX_LINE} bytes")));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| failed(format!("the answer broke off: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                self.buffer.extend_from_slice(&bytes);
            }
        }
    }
}

/// What a server refuses, in its own words.
async fn refusal(response: Response<Incoming>) -> Problem {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.as_ref().and_then(|said| said.get("error")).map_or_else(String::new, words);
    let detail = format!("the model's server refuses ({}): {said}", status.as_u16());
    let code = if status.is_client_error() { 422 } else { 502 };
    OperationError::new("backend-refused", detail).with_status(code).into_problem()
}

/// An error's message, as servers tell it: a text, or an object that has one.
fn words(error: &Value) -> String {
    let message = error.get("message").unwrap_or(error);
    message.as_str().map_or_else(|| message.to_string(), str::to_owned)
}

fn failed(detail: impl std::fmt::Display) -> Problem {
    let detail = format!("the model's server: {detail}");
    OperationError::new(FAILED, detail).with_status(502).into_problem()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;

    /// Whether the kernel has a timer for the silence of the connection from a port to another.
    fn is_kept_alive(from: u16, to: u16) -> bool {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (from, to) = (format!(":{from:04X}"), format!(":{to:04X}"));
        connections.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&from) && fields[2].ends_with(&to) && fields[5].starts_with("02:")
        })
    }

    #[tokio::test]
    async fn a_server_that_is_asked_and_says_nothing_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Api::new(&format!("http://{address}"), "m".to_owned(), None).unwrap();
        let is_probed = async {
            let (_silent, asks) = listener.accept().await.unwrap();
            while !is_kept_alive(asks.port(), address.port()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            asked = api.ask(Method::POST, "/v1/completions", None) => panic!("{asked:?}"),
            probed = timeout(PATIENCE, is_probed) => probed.expect("it's probed"),
        }
    }
}
