//! Events on the wire.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Frame, PATIENCE, Server, frames};

/// A text with all that could break a line or a frame.
const NASTY: &str = "a\nb \u{2028} é";

#[tokio::test]
async fn a_job_streams_its_events_numbered_without_holes_and_replays_them_byte_for_byte() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": NASTY, "count": 50 })).await;
    let log = server.log(&id).await;
    let events = frames(&log);

    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>());
    let output: Vec<_> = events.iter().filter(|event| event.event == "message").collect();
    assert_eq!(output.len(), 50);
    for event in output {
        assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), NASTY);
    }
    assert_eq!(events.iter().filter(|event| event.event == "end").count(), 1);
    assert_eq!(events.last().unwrap().event, "end");

    assert_eq!(server.log(&id).await, log);
}

#[tokio::test]
async fn a_reader_that_resumes_gets_each_later_event_once() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "x", "count": 20 })).await;
    let all = frames(&server.log(&id).await);
    for after in 0..all.len() {
        let rest = server.stream(&id, after as u64).await.text().await.unwrap();
        assert_eq!(frames(&rest), all[after..], "after {after}");
        let path = format!("/v1/jobs/{id}/stream?after={after}");
        assert_eq!(server.fetch(&path).await.text().await.unwrap(), rest);
    }
    for past in [all.len() as u64, all.len() as u64 + 7] {
        assert_eq!(server.stream(&id, past).await.status(), 204);
    }
}

#[tokio::test]
async fn a_connection_cut_inside_an_event_loses_and_repeats_nothing() {
    let server = Server::start(&[]);
    let value = "0123456789".repeat(20);
    let id = server.job("echo", json!({ "value": value, "count": 2000 })).await;
    server.ended(&id).await;
    let mut seen: Vec<Frame> = Vec::new();
    // Each connection is cut after some bytes, which is nearly always in the middle of an event.
    for cut in (1..).map(|turn| turn * 40_003) {
        let after = seen.last().map_or(0, |event| event.id);
        let Some(part) = read_some(&server, &id, after, cut) else { break };
        seen.extend(frames(&part));
    }
    let ids: Vec<u64> = seen.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=2002).collect::<Vec<_>>());
}

/// At most `limit` bytes of a stream's body over HTTP/1.0, which has no chunks. `None` for 204.
fn read_some(server: &Server, id: &str, after: u64, limit: usize) -> Option<String> {
    let mut stream = connect(server, id, after);
    let mut answer = vec![0; limit];
    let mut length = 0;
    while length < limit {
        match stream.read(&mut answer[length..]).unwrap() {
            0 => break,
            read => length += read,
        }
    }
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (!head.contains(" 204 ")).then(|| body.to_owned())
}

fn connect(server: &Server, id: &str, after: u64) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = server.address();
    let head = format!("GET /v1/jobs/{id}/stream?after={after} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn a_stalled_reader_costs_the_others_nothing() {
    let server = Server::start(&[]);
    let value = "x".repeat(1000);
    let id = server.job("echo", json!({ "value": value, "count": 20_000 })).await;
    // Never read: its socket buffers fill up, and that's that.
    let stalled = connect(&server, &id, 0);
    let readers: Vec<_> = (0..9).map(|_| server.log(&id)).collect();
    for log in futures_util::future::join_all(readers).await {
        assert_eq!(frames(&log).len(), 20_002);
    }
    drop(stalled);
}

#[tokio::test]
async fn a_direct_call_answers_with_the_result_or_streams() {
    let server = Server::start(&[]);
    let input = json!({ "value": 1, "count": 2 });
    let answer = server.post("/v1/operations/echo", &input).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "count": 2 }));

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/operations/echo", server.url);
    let request = client.post(url).header("accept", "text/event-stream").json(&input);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(frames(&answer.text().await.unwrap()).len(), 4);
    assert_eq!(server.json(&location).await["state"], "succeeded");
}

#[tokio::test]
async fn a_direct_call_whose_client_goes_away_is_cancelled_and_a_read_job_goes_on() {
    let server = Server::start(&[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for accept in ["text/event-stream", "application/json"] {
        let call = client
            .post(format!("{}/v1/operations/ignore_cancellation", server.url))
            .header("accept", accept)
            .json(&json!({}))
            .send();
        let called = tokio::spawn(call);
        let id = loop {
            let jobs = server.json("/v1/jobs?state=running").await;
            if let Some(id) = jobs["jobs"][0]["job_id"].as_str() {
                break id.to_owned();
            }
            tokio::task::yield_now().await;
        };
        called.abort();
        // An answer that has begun is dropped with its connection.
        drop(called.await);
        assert_eq!(server.ended(&id).await["state"], "cancelled", "{accept}");
    }

    let id = server.job("echo", json!({ "value": 1, "count": 300, "interval_us": 1000 })).await;
    drop(server.stream(&id, 0).await);
    assert_eq!(server.ended(&id).await["state"], "succeeded");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let server = Server::start(&[]);
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let id = server.job("echo", json!({ "value": 1, "count": 10 })).await;
    let url = format!("{}/v1/jobs/{id}/stream", server.url);
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), server.log(&id).await);
}

#[tokio::test]
async fn jobs_are_listed_newest_first_in_pages() {
    let server = Server::start(&[]);
    let mut ids = Vec::new();
    for count in 0..5 {
        let id = server.job("echo", json!({ "value": 0, "count": count })).await;
        server.ended(&id).await;
        ids.insert(0, id);
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/jobs?limit=2".to_owned());
    loop {
        let page = server.json(&path).await;
        for job in page["jobs"].as_array().unwrap() {
            seen.push(job["job_id"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ids);
    let failed = server.json("/v1/jobs?state=failed").await;
    assert_eq!(failed["jobs"], json!([]));
}

#[tokio::test]
async fn a_job_that_starts_with_its_first_reader_waits_for_it() {
    let server = Server::start(&[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{}/v1/jobs", server.url))
        .header("skep-start", "on-stream")
        .json(&json!({ "operation": "echo", "value": 1 }));
    let created: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(created["state"], "scheduled");
    let id = created["job_id"].as_str().unwrap();
    assert_eq!(server.json(&format!("/v1/jobs/{id}")).await["state"], "scheduled");
    assert_eq!(frames(&server.log(id).await).last().unwrap().event, "end");
}
