//! The operation over HTTP, by dropshot's own test client.

use dropshot::test_util::{TestContext, read_ndjson};
use dropshot::{ConfigDropshot, ConfigLogging, ConfigLoggingLevel};
use http::{Method, StatusCode};
use serde_json::{Value, json};

fn server() -> TestContext<()> {
    let level = ConfigLoggingLevel::Critical;
    let log = ConfigLogging::StderrTerminal { level }.to_logger("test").unwrap();
    TestContext::new(compare_dropshot::api(), (), &ConfigDropshot::default(), None, log)
}

#[tokio::test]
async fn it_tells_three_times_how_far_it_is_and_then_the_sum() {
    let server = server();
    let input = json!({ "dice": 10, "seed": 7 });
    let client = &server.client_testctx;
    let response = client.make_request(Method::POST, "/dice_roll", Some(input), StatusCode::OK);
    let lines: Vec<Value> = read_ndjson(&mut response.await.unwrap()).await;
    assert_eq!(json!(lines), json!([{"rolled": 3}, {"rolled": 6}, {"rolled": 10}, {"sum": 31}]));
    server.teardown().await;
}

#[tokio::test]
async fn it_refuses_a_bad_input() {
    let server = server();
    let refusal = async |input: Value| {
        let bad_request = StatusCode::BAD_REQUEST;
        let client = &server.client_testctx;
        client.make_request_error_body(Method::POST, "/dice_roll", input, bad_request).await.message
    };
    let message = refusal(json!({ "dice": 0, "sides": 1001 })).await;
    assert!(message.contains("dice") && message.contains("sides"), "{message}");

    let message = refusal(json!({ "dice": 1, "colour": "red" })).await;
    assert!(message.contains("unknown field `colour`"), "{message}");
    server.teardown().await;
}
