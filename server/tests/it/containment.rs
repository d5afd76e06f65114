//! Operations that misbehave hurt their own jobs only.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, frames};

/// What an `echo` beside a misbehaving job may take.
const PROMPT: Duration = Duration::from_millis(100);

/// Short patience, so that the tests are.
const IMPATIENT: &str = "[jobs]\ncancel_grace = \"200ms\"\nmax_log = \"8MiB\"\n";

/// An `echo` is served promptly. Several tries, because a machine may be busy for a moment; a server
/// that is stuck serves none of them.
async fn assert_prompt(server: &Server, beside: &str) {
    for _ in 0..20 {
        if server.echo().await < PROMPT {
            return;
        }
    }
    panic!("no echo within {PROMPT:?} beside {beside}");
}

/// Runs `operation`, cancels it if `cancel`, and returns its end while echoes are served beside it.
async fn end_of(server: &Server, operation: &str, cancel: bool) -> Value {
    let id = server.job(operation, json!({})).await;
    assert_prompt(server, operation).await;
    if cancel {
        assert_eq!(server.cancel(&id).await.status(), 202);
        assert_prompt(server, operation).await;
    }
    let log = frames(&server.log(&id).await);
    assert_eq!(log.iter().filter(|event| event.event == "end").count(), 1, "{operation}");
    serde_json::from_str(&log.last().unwrap().data).unwrap()
}

#[tokio::test]
async fn each_misbehaving_operation_ends_as_it_deserves() {
    let server = Server::configured(IMPATIENT, &[]);
    // The first request of a process is slower than it will ever be again.
    server.echo().await;
    for (operation, code) in [
        ("panic_early", "panic"),
        ("panic_late", "panic"),
        ("flood", "output-too-large"),
        ("never_end", "timeout"),
        ("call_itself", "call-cycle"),
        ("call_b", "call-cycle"),
    ] {
        let end = end_of(&server, operation, false).await;
        assert_eq!(end["error"]["code"], code, "{operation}: {end}");
        assert!(!end.to_string().contains("stays in the server's log"), "{end}");
    }
    for operation in ["ignore_cancellation", "block_thread"] {
        let end = end_of(&server, operation, true).await;
        assert_eq!(end, json!({ "state": "cancelled" }), "{operation}");
    }
}

#[tokio::test]
async fn handlers_that_block_every_core_do_not_stop_the_server() {
    let mut server = Server::configured(IMPATIENT, &[]);
    server.echo().await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut ids = Vec::new();
    for _ in 0..cores + 2 {
        ids.push(server.job("block_thread", json!({})).await);
    }
    assert_prompt(&server, "handlers that block").await;
    for id in &ids {
        server.cancel(id).await;
    }
    for id in &ids {
        assert_eq!(server.ended(id).await["state"], "cancelled");
    }
    let warning = server.wait_for_line("blocks its thread");
    assert!(warning.contains("block_thread"), "{warning}");

    // Known now, it gets threads of its own: any number of them.
    for _ in 0..40 {
        server.job("block_thread", json!({ "ms": 1500 })).await;
    }
    assert_prompt(&server, "handlers that block").await;
}
