//! A subscription in jsonrpsee: JSON-RPC 2.0 over WebSocket, an event a notification. There are no ids and no end, so a
//! client counts; what it has missed is gone.
//!
//! `GET /health` is a call of the method `health`, by jsonrpsee's own layer. Its limits are raised as far as the load
//! client goes; the buffer of a connection, 1,024 messages, stays: whoever is slower than that makes the sender wait.

use std::error::Error;

use jsonrpsee::PendingSubscriptionSink;
use jsonrpsee::core::{SubscriptionResult, async_trait};
use jsonrpsee::proc_macros::rpc;
use jsonrpsee::server::middleware::http::ProxyGetRequestLayer;
use jsonrpsee::server::{Server, ServerConfig};
use serde_json::Value;
use serde_json::value::to_raw_value;
use skep_bench_peers::{interval, listening};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = ServerConfig::builder()
        .max_connections(15_000)
        .max_subscriptions_per_connection(u32::MAX)
        .build();
    let health = ServiceBuilder::new().layer(ProxyGetRequestLayer::new([("/health", "health")])?);
    let server = Server::builder().set_config(config).set_http_middleware(health);
    let server = server.build("127.0.0.1:0").await?;
    listening(server.local_addr()?)?;
    server.start(Peer.into_rpc()).stopped().await;
    Ok(())
}

#[rpc(server)]
trait Api {
    #[subscription(name = "subscribe_echo" => "echo", unsubscribe = "unsubscribe_echo", item = Value)]
    async fn subscribe_echo(
        &self,
        value: Value,
        count: u64,
        interval_us: Option<u64>,
    ) -> SubscriptionResult;

    #[method(name = "health")]
    fn health(&self) -> &'static str;
}

struct Peer;

#[async_trait]
impl ApiServer for Peer {
    async fn subscribe_echo(
        &self,
        pending: PendingSubscriptionSink,
        value: Value,
        count: u64,
        interval_us: Option<u64>,
    ) -> SubscriptionResult {
        let sink = pending.accept().await?;
        let mut interval = interval(interval_us.unwrap_or_default());
        for _ in 0..count {
            if let Some(interval) = &mut interval {
                interval.tick().await;
            }
            sink.send(to_raw_value(&value)?).await?;
        }
        Ok(())
    }

    fn health(&self) -> &'static str {
        "ok"
    }
}
