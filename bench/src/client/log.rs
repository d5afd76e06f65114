//! Streams of Durable Streams, which clients append to and read.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, Request, Uri};

use super::{Connection, json};
use crate::Result;
use crate::count::Counter;

/// A stream, by a connection of its own.
pub(crate) struct Log {
    connection: Connection,
    at: Uri,
}

impl Log {
    /// The stream of this name, which is there already.
    pub(crate) fn open(connection: Connection, name: &str) -> Result<Self> {
        Ok(Self { connection, at: format!("/v1/stream/{name}").parse()? })
    }

    /// Makes a stream of this name.
    pub(crate) async fn create(connection: Connection, name: &str) -> Result<Self> {
        let mut log = Self::open(connection, name)?;
        log.connection.send(json(Method::PUT), &log.at, Bytes::new()).await?;
        Ok(log)
    }

    /// Appends a message, or an array of them; once it returns, the server has them as safe as it ever will.
    pub(crate) async fn append(&mut self, messages: &Bytes) -> Result<()> {
        self.connection.send(json(Method::POST), &self.at, messages.clone()).await?;
        Ok(())
    }

    /// Reads all that is there.
    pub(crate) async fn read(&mut self) -> Result<Counter> {
        let all: Uri = format!("{}?offset=-1", self.at).parse()?;
        let mut body =
            self.connection.send(Request::builder(), &all, Bytes::new()).await?.into_body();
        let mut counter = Counter::default();
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                counter.add_array(&bytes);
            }
        }
        Ok(counter)
    }
}
