//! A real browser's `EventSource`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::proxy::cutting_proxy;
use crate::support::Server;

/// How much of the first stream comes through before the connection is cut.
const CUT: usize = 2_000;

#[tokio::test]
async fn an_event_source_that_loses_its_connection_gets_each_event_once_and_stops_at_the_end() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "é\n", "count": 100 })).await;
    server.ended(&id).await;
    let proxy = cutting_proxy(server.address(), &[CUT]);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/eventsource.cjs");
    let driven = Command::new("node")
        .arg(script)
        .arg(format!("http://{proxy}/v1/jobs/{id}/stream"))
        .arg(format!("http://{proxy}/livez"))
        .output()
        .expect("node is installed");
    assert!(driven.status.success(), "{}", String::from_utf8_lossy(&driven.stderr));
    let seen: Value = serde_json::from_slice(&driven.stdout).unwrap();

    let events = seen["events"].as_array().unwrap();
    let ids: Vec<u64> =
        events.iter().map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, (1..=102).collect::<Vec<_>>());
    let outputs = events.iter().filter(|event| event["type"] == "message");
    assert!(outputs.clone().all(|event| event["data"] == r#""é\n""#));
    assert_eq!(outputs.count(), 100);
    assert_eq!(events.last().unwrap()["type"], "end");
    // One connection was cut, one came to the end, and the answer to the third said to stop.
    assert_eq!((&seen["opens"], &seen["readyState"]), (&json!(2), &json!(2)));
}
