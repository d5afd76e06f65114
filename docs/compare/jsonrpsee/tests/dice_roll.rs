//! The operation over WebSocket.

use compare_jsonrpsee::{Dice, DiceApiServer as _};
use jsonrpsee::core::client::{Error, Subscription, SubscriptionClientT as _};
use jsonrpsee::rpc_params;
use jsonrpsee::server::Server;
use jsonrpsee::ws_client::WsClientBuilder;
use serde_json::{Value, json};

async fn dice_roll(input: Value) -> Result<Subscription<Value>, Error> {
    let server = Server::builder().build("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", server.local_addr().unwrap());
    tokio::spawn(server.start(Dice.into_rpc()).stopped());
    let client = WsClientBuilder::default().build(url).await.unwrap();
    client.subscribe("dice_roll", rpc_params![input], "dice_cancel").await
}

#[tokio::test]
async fn it_tells_three_times_how_far_it_is_and_then_the_sum() {
    let mut updates = dice_roll(json!({ "dice": 10, "seed": 7 })).await.unwrap();
    for rolled in [3, 6, 10] {
        assert_eq!(updates.next().await.unwrap().unwrap(), json!({ "rolled": rolled }));
    }
    assert_eq!(updates.next().await.unwrap().unwrap(), json!({ "sum": 31 }));
}

#[tokio::test]
async fn it_refuses_a_bad_input() {
    let refusal = dice_roll(json!({ "dice": 0, "sides": 1001 })).await.unwrap_err().to_string();
    assert!(refusal.contains("dice") && refusal.contains("sides"), "{refusal}");

    let refusal = dice_roll(json!({ "dice": 1, "colour": "red" })).await.unwrap_err().to_string();
    assert!(refusal.contains("unknown field `colour`"), "{refusal}");
}
