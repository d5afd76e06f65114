//! A tool that tells its progress, in rmcp: MCP's streamable HTTP in its leanest mode, without sessions and without a
//! store of events. An event is a progress notification, and the result comes last.

use std::error::Error;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::routing::get;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::ProgressNotificationParam;
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_bench_peers::listen;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sessions = Arc::new(NeverSessionManager::default());
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false);
    let service = StreamableHttpService::new(|| Ok(Peer), sessions, config);
    let app = Router::new().route_service("/mcp", service).route("/health", get("ok"));
    Ok(axum::serve(listen().await?, app).await?)
}

#[derive(Deserialize, JsonSchema)]
struct Echo {
    value: Value,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Echoed {
    count: u64,
}

struct Peer;

/// Made once: without sessions, each request has a handler of its own.
static TOOLS: LazyLock<ToolRouter<Peer>> = LazyLock::new(Peer::tool_router);

#[tool_handler(router = TOOLS)]
impl ServerHandler for Peer {}

#[tool_router]
impl Peer {
    /// Emits a value.
    #[tool]
    async fn echo(
        &self,
        Parameters(Echo { value, count }): Parameters<Echo>,
        request: RequestContext<RoleServer>,
    ) -> Result<Json<Echoed>, String> {
        if let Some(token) = request.meta.get_progress_token() {
            let message = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            for done in 1..=count {
                let progress = ProgressNotificationParam::new(token.clone(), done as f64);
                let progress = progress.with_message(message.clone());
                request.peer.notify_progress(progress).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(Json(Echoed { count }))
    }
}
