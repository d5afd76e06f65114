//! The operation over HTTP.

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

async fn dice_roll(input: Value) -> Response {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/dice_roll", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, compare_axum::app()).await });
    Client::new().post(url).json(&input).send().await.unwrap()
}

#[tokio::test]
async fn it_tells_three_times_how_far_it_is_and_then_the_sum() {
    let response = dice_roll(json!({ "dice": 10, "seed": 7 })).await;
    let events = response.text().await.unwrap();
    let events: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events, [r#"{"rolled":3}"#, r#"{"rolled":6}"#, r#"{"rolled":10}"#, r#"{"sum":31}"#]);
}

#[tokio::test]
async fn it_refuses_a_bad_input() {
    let response = dice_roll(json!({ "dice": 0, "sides": 1001 })).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let text = response.text().await.unwrap();
    assert!(text.contains("dice") && text.contains("sides"), "{text}");

    let response = dice_roll(json!({ "dice": 1, "colour": "red" })).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text().await.unwrap().contains("unknown field `colour`"));
}
