//! The operation by an MCP client, over HTTP.

use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject, ProgressNotificationParam};
use rmcp::service::{NotificationContext, RoleClient};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ServiceExt as _, object};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

struct Client(UnboundedSender<f64>);

impl ClientHandler for Client {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.send(progress.progress).unwrap();
    }
}

async fn dice_roll(input: JsonObject) -> (CallToolResult, UnboundedReceiver<f64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, compare_rmcp::app()).await });
    let (sender, progress) = mpsc::unbounded_channel();
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = Client(sender).serve(transport).await.unwrap();
    let call = CallToolRequestParams::new("dice_roll").with_arguments(input);
    (client.call_tool(call).await.unwrap(), progress)
}

#[tokio::test]
async fn it_tells_three_times_how_far_it_is_and_then_the_sum() {
    let (result, mut progress) = dice_roll(object!({ "dice": 10, "seed": 7 })).await;
    for rolled in [3.0, 6.0, 10.0] {
        assert_eq!(progress.recv().await, Some(rolled));
    }
    assert_eq!(result.structured_content, Some(json!({ "sum": 31 })));
}

#[tokio::test]
async fn it_refuses_a_bad_input() {
    let refusal = async |input| {
        let result = dice_roll(input).await.0;
        assert_eq!(result.is_error, Some(true));
        result.content[0].as_text().unwrap().text.clone()
    };
    let text = refusal(object!({ "dice": 0, "sides": 1001 })).await;
    assert!(text.contains("dice") && text.contains("sides"), "{text}");

    let text = refusal(object!({ "dice": 1, "colour": "red" })).await;
    assert!(text.contains("unknown field `colour`"), "{text}");
}
