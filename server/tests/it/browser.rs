//! A real browser's `EventSource`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::Server;

/// How much of the first stream comes through before the connection is cut.
const CUT: usize = 2_000;

#[tokio::test]
async fn an_event_source_that_loses_its_connection_gets_each_event_once_and_stops_at_the_end() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "é\n", "count": 100 })).await;
    server.ended(&id).await;
    let proxy = cutting_proxy(server.address().to_owned());

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

/// A proxy to `server` that cuts the first stream after [`CUT`] bytes. Returns its address.
fn cutting_proxy(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cut = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (server, cut) = (server.clone(), cut.clone());
            // A thread each: a browser also opens connections that it says nothing on.
            thread::spawn(move || relay(client, &server, &cut));
        }
    });
    address
}

/// Passes one request on, and its answer back.
fn relay(mut client: TcpStream, server: &str, cut: &AtomicBool) {
    let mut request = vec![0; 16 * 1024];
    let Ok(length @ 1..) = client.read(&mut request) else { return };
    let head = String::from_utf8_lossy(&request[..length]).into_owned();
    let first = head.starts_with("GET /v1/jobs/") && !cut.swap(true, Ordering::SeqCst);
    let mut server = TcpStream::connect(server).expect("the server is there");
    // One request a connection, so that each one is seen here.
    let head = head.replace("Connection: keep-alive", "Connection: close");
    server.write_all(head.as_bytes()).expect("the server reads");
    forward(server, &mut client, if first { CUT } else { usize::MAX });
}

/// Copies at most `limit` bytes, then closes both sides.
fn forward(from: TcpStream, to: &mut TcpStream, limit: usize) {
    let mut from = from.take(limit as u64);
    // Either side may go away at any time.
    let _ = std::io::copy(&mut from, to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
