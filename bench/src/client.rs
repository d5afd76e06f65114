//! The load client: connections that ask for jobs and count what they stream.
//!
//! Here is HTTP, and with it whatever answers a request by a stream of events: jobs, tools of MCP, models. What speaks
//! another way is below.

pub(crate) mod log;
pub(crate) mod subscription;

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::Result;
use crate::count::Counter;

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A connection, which is kept from request to request.
pub(crate) struct Connection {
    host: HeaderValue,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What a server answers to a new job, as far as it matters here.
#[derive(Deserialize)]
struct Created {
    sse_url: String,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, protocol: Protocol) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // A connection that breaks is told by the request that it breaks.
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                // Windows that never make a server wait: what is measured is the server.
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(16 << 20)
                    .initial_connection_window_size(64 << 20)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self { host: address.to_string().parse()?, sender })
    }

    /// Connects so many times.
    pub(crate) async fn open_many(
        address: SocketAddr,
        protocol: Protocol,
        count: usize,
    ) -> Result<Vec<Self>> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Self::open(address, protocol).await?);
        }
        Ok(connections)
    }

    /// Asks for a job; returns where its events are.
    pub(crate) async fn create(&mut self, job: &Bytes) -> Result<Uri> {
        let at = Uri::from_static("/v1/jobs");
        let answer = self.send(json(Method::POST), &at, job.clone()).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let created: Created = serde_json::from_slice(&body)
            .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&body)))?;
        Ok(created.sse_url.parse()?)
    }

    /// Begins to read a stream of events.
    pub(crate) async fn stream(&mut self, at: &Uri) -> Result<Events> {
        let answer = self.send(Request::builder(), at, Bytes::new()).await?;
        Ok(Events::of(answer))
    }

    /// Asks for what is answered by a stream of events.
    pub(crate) async fn call(&mut self, at: &'static str, request: &Bytes) -> Result<Events> {
        // MCP wants to hear both.
        let head = json(Method::POST).header(ACCEPT, "application/json, text/event-stream");
        let answer = self.send(head, &Uri::from_static(at), request.clone()).await?;
        Ok(Events::of(answer))
    }

    /// Asks for a job and reads it to its end.
    pub(crate) async fn run(&mut self, job: &Bytes) -> Result<Counter> {
        let at = self.create(job).await?;
        self.stream(&at).await?.rest().await
    }

    /// Gets whatever is there; an answer that isn't a success is an error.
    pub(crate) async fn get(&mut self, at: &'static str) -> Result<Bytes> {
        let answer = self.send(Request::builder(), &Uri::from_static(at), Bytes::new()).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// Sends a request, whose method and headers are in `request`; an answer that isn't a success is an error.
    async fn send(
        &mut self,
        request: Builder,
        at: &Uri,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                let request = request.uri(at).header(HOST, &self.host);
                sender.ready().await?;
                sender.send_request(request.body(Full::new(body))?).await?
            }
            Sender::Http2(sender) => {
                let whole = format!("http://{}{at}", self.host.to_str()?);
                sender.ready().await?;
                sender.send_request(request.uri(whole).body(Full::new(body))?).await?
            }
        };
        if !answer.status().is_success() {
            return Err(format!("{at} was answered with {}", answer.status()).into());
        }
        Ok(answer)
    }
}

/// The head of a request whose body is JSON.
fn json(method: Method) -> Builder {
    Request::builder().method(method).header(CONTENT_TYPE, "application/json")
}

/// A stream of events that is being read.
pub(crate) struct Events {
    body: Incoming,
    counter: Counter,
}

impl Events {
    fn of(answer: Response<Incoming>) -> Self {
        Self { body: answer.into_body(), counter: Counter::default() }
    }

    /// Waits for the next part; `None` once there is no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                self.counter.add(&bytes);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// How many events have come so far.
    pub(crate) fn count(&self) -> u64 {
        self.counter.events
    }

    /// Waits for event `number`, counted from 1.
    pub(crate) async fn reach(&mut self, number: u64) -> Result<()> {
        while self.counter.events < number {
            if self.next().await?.is_none() {
                let came = self.counter.events;
                return Err(format!("the stream ended after {came} events").into());
            }
        }
        Ok(())
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Result<Counter> {
        while self.next().await?.is_some() {}
        Ok(self.counter)
    }
}
