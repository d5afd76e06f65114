//! A standard error that can't be written.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{command, program};

/// Standard errors that take nothing: nobody reads the one, and the other's disk is full.
fn unwritable() -> [Stdio; 2] {
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    [unread.into(), full.into()]
}

#[tokio::test]
async fn a_log_that_cannot_be_written_does_not_end_the_server() {
    for log in unwritable() {
        let data = tempfile::tempdir().unwrap();
        // It can't tell where it listens; and what it's handed waits for it, and not for a dead one.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/operations", socket.local_addr().unwrap());
        let mut serve = command(program());
        serve.args(["serve", "--listen", "stdin", "--data-dir"]).arg(data.path());
        let mut server = serve.stdin(OwnedFd::from(socket)).stderr(log).spawn().unwrap();
        drop(serve);

        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..2 {
            let panics = http.post(format!("{url}/panic_early")).json(&json!({}));
            let problem: Value = panics.send().await.unwrap().json().await.unwrap();
            assert_eq!(problem["code"], "panic");
        }
        let pid = server.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn a_failure_that_cannot_be_told_is_one_all_the_same() {
    for error in unwritable() {
        let mut status = command(program());
        status.args(["status", "--server", "nowhere"]).stderr(error);
        assert_eq!(status.status().unwrap().code(), Some(1));
    }
}
