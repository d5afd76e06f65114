//! Subscriptions of JSON-RPC over WebSocket, an event a message.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::Result;
use crate::count::Counter;

/// How a message begins that is an event, and not the answer to a request.
const EVENT: &[u8] = br#"{"jsonrpc":"2.0","method":"echo","#;

/// A connection, which is kept from subscription to subscription.
pub(crate) struct Subscriber(WebSocketStream<TcpStream>);

impl Subscriber {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) =
            tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await?;
        Ok(Self(socket))
    }

    /// Subscribes and reads as many events as there will be: nothing tells their end.
    pub(crate) async fn run(&mut self, request: &Bytes, events: u64) -> Result<Counter> {
        self.0.send(Message::Text(Utf8Bytes::try_from(request.clone())?)).await?;
        let mut counter = Counter::default();
        while counter.events < events {
            let message = self.0.next().await.ok_or("the connection was closed")??.into_data();
            if message.starts_with(EVENT) {
                counter.add_event(&message);
            } else if !message.starts_with(br#"{"jsonrpc":"2.0","id":1,"result":"#) {
                return Err(format!("not an event: {}", String::from_utf8_lossy(&message)).into());
            }
        }
        Ok(counter)
    }
}
