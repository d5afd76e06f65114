//! Bad input: each kind gets its problem, and the server lives on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

/// Sends bytes as they are, and reads the answer to its end.
fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses early may close while this is still being sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with a JSON body, one header added, that closes the connection.
fn post(path: &str, header: &str, body: &[u8]) -> Vec<u8> {
    let has = |name: &str| header.to_ascii_lowercase().starts_with(name);
    let mut request = format!("POST {path} HTTP/1.1\r\nConnection: close\r\n");
    if !has("host:") {
        request += "Host: localhost\r\n";
    }
    if !has("content-type:") {
        request += "Content-Type: application/json\r\n";
    }
    if !header.is_empty() {
        request += &format!("{header}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    [request.as_bytes(), body].concat()
}

/// The status and the problem of an answer.
fn problem(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    (status, serde_json::from_str(body).expect("a problem"))
}

#[tokio::test]
async fn every_kind_of_bad_request_has_its_problem() {
    let server = Server::start(&[]);
    let deep = format!("{{\"operation\":\"echo\",\"value\":{}1", "[".repeat(10_000));
    let huge = format!("{{\"operation\":\"echo\",\"value\":\"{}\"}}", "x".repeat(5 << 20));
    let job = b"{\"operation\":\"echo\",\"value\":1}";
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("broken JSON", post("/v1/jobs", "", b"{\"operation\":\n  oops}"), 400, "invalid-json"),
        ("an empty body", post("/v1/jobs", "", b""), 400, "invalid-json"),
        ("invalid UTF-8", post("/v1/jobs", "", b"{\"operation\":\"\xff\"}"), 400, "invalid-json"),
        ("deep nesting", post("/v1/jobs", "", deep.as_bytes()), 400, "invalid-json"),
        ("an array", post("/v1/jobs", "", b"[1]"), 422, "invalid-input"),
        ("no operation", post("/v1/jobs", "", b"{}"), 422, "invalid-input"),
        ("a number as operation", post("/v1/jobs", "", b"{\"operation\":1}"), 422, "invalid-input"),
        ("an unknown operation", post("/v1/jobs", "", b"{\"operation\":\"ehco\"}"), 404, "unknown-operation"),
        ("an array for a direct call", post("/v1/operations/echo", "", b"[1]"), 422, "invalid-input"),
        ("an unknown direct call", post("/v1/operations/ehco", "", b"{}"), 404, "unknown-operation"),
        ("another content type", post("/v1/jobs", "Content-Type: text/plain", job), 415, "unsupported-media-type"),
        ("another charset", post("/v1/jobs", "Content-Type: application/json; charset=latin1", job), 415, "unsupported-media-type"),
        ("a body over the limit", post("/v1/jobs", "", huge.as_bytes()), 413, "payload-too-large"),
        ("a foreign host", post("/v1/jobs", "Host: evil.example", job), 421, "misdirected-request"),
        ("a foreign origin", post("/v1/jobs", "Origin: https://evil.example", job), 403, "forbidden"),
        ("a header that is not served", post("/v1/jobs", "Skep-Timeuot: 3s", job), 400, "invalid-header"),
        ("an empty idempotency key", post("/v1/jobs", "Idempotency-Key:", job), 400, "invalid-header"),
        ("a key with a blank", post("/v1/jobs", "Idempotency-Key: a b", job), 400, "invalid-header"),
        ("two keys", post("/v1/jobs", "Idempotency-Key: a\r\nIdempotency-Key: b", job), 400, "invalid-header"),
        ("a priority that is none", post("/v1/jobs", "Skep-Priority: urgent", job), 400, "invalid-header"),
        ("a start that is none", post("/v1/jobs", "Skep-Run-At: tomorrow", job), 400, "invalid-header"),
        ("two starts", post("/v1/jobs", "Skep-Run-At: +1s\r\nSkep-Start: on-stream", job), 400, "invalid-header"),
        ("a later start of a direct call", post("/v1/operations/echo", "Skep-Run-At: +1s", b"{\"value\":1}"), 400, "invalid-header"),
        ("a time that is none", post("/v1/jobs", "Skep-Timeout: soon", job), 400, "invalid-header"),
        ("an unknown path", post("/v2/jobs", "", job), 404, "not-found"),
        ("a wrong method", post("/v1/jobs/x/stream", "", job), 405, "method-not-allowed"),
    ];
    for (name, request, status, code) in cases {
        let (got, problem) = problem(&raw(&server, &request));
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{name}: {problem}");
        assert_eq!(problem["type"], format!("urn:skep:problem:{code}"), "{name}");
        assert_eq!(problem["status"], status, "{name}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{name}");
    }
    server.echo().await;
}

#[tokio::test]
async fn problems_say_where_and_what_to_do() {
    let server = Server::start(&[]);
    let refuse = |body: &'static [u8]| problem(&raw(&server, &post("/v1/jobs", "", body))).1;

    let broken = refuse(b"{\"operation\":\n  oops}");
    assert_eq!((&broken["line"], &broken["column"]), (&json!(2), &json!(3)));
    assert_eq!(refuse(b"{\"operation\":\"ehco\"}")["did_you_mean"], "echo");

    let refused =
        refuse(b"{\"operation\":\"echo\",\"count\":-1,\"interval_us\":\"x\",\"valeu\":1}");
    let errors = refused["errors"].as_array().unwrap();
    let mut pointers: Vec<_> =
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/count", "/interval_us", "/valeu", "/value"]);
    let unknown = errors.iter().find(|error| error["pointer"] == "/valeu").unwrap();
    assert!(unknown["detail"].as_str().unwrap().contains("did you mean `value`"));
    // Nothing of this made a job.
    assert_eq!(server.json("/v1/jobs").await["jobs"], json!([]));
}

#[tokio::test]
async fn a_job_that_is_not_there_and_a_position_that_is_none_are_told() {
    let server = Server::start(&[]);
    for id in ["x", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/stream")] {
            let answer = server.fetch(&path).await;
            assert_eq!(answer.status(), 404, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "unknown-job", "{path}");
        }
        assert_eq!(server.cancel(id).await.status(), 404);
    }
    let id = server.job("echo", json!({ "value": 1 })).await;
    let head = format!(
        "GET /v1/jobs/{id}/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Last-Event-ID: abc\r\n\r\n"
    );
    let (status, refused) = problem(&raw(&server, head.as_bytes()));
    assert_eq!((status, &refused["code"]), (400, &json!("invalid-header")));
    for query in ["after=x", "aftre=1"] {
        let answer = server.fetch(&format!("/v1/jobs/{id}/stream?{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    let ended = server.ended(&id).await;
    assert_eq!(ended["state"], "succeeded");
    let again = server.cancel(&id).await;
    assert_eq!(again.status(), 409);
    assert_eq!(again.json::<Value>().await.unwrap()["code"], "conflict");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start(&[]);
    let answer = raw(&server, &post("/v1/operations", "", b"{}"));
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let server = Server::start(&[]);
    let head =
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = raw(&server, head.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.echo().await;
}

#[tokio::test]
async fn a_request_that_never_comes_times_out() {
    let server = Server::configured("[server]\nrequest_timeout = \"200ms\"", &[]);
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Connection: close\r\nContent-Length: 100\r\n\r\n{";
    let (status, refused) = problem(&raw(&server, head.as_bytes()));
    assert_eq!((status, &refused["code"]), (408, &json!("request-timeout")));

    // A head that stops in the middle: the connection is closed.
    raw(&server, b"GET /health HTTP/1.1\r\nHost:");
    server.echo().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_harms_nobody() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    server.echo().await;
    assert_eq!(server.json("/v1/jobs").await["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn hidden_operations_and_their_jobs_are_not_there_for_clients() {
    let server = Server::start(&[]);
    let asked = server.post("/v1/operations/secret_ask", &json!({})).await;
    assert_eq!(asked.json::<Value>().await.unwrap(), 10);
    let told = server.post("/v1/operations/secret_tell", &json!({})).await;
    assert_eq!(told.status(), 404);
    let jobs = server.json("/v1/jobs").await;
    let [job] = jobs["jobs"].as_array().unwrap().as_slice() else { panic!("{jobs}") };
    // A list shows neither results nor events.
    let id = job["job_id"].as_str().unwrap();
    let told = [server.json(&format!("/v1/jobs/{id}")).await.to_string(), server.log(id).await];
    assert!(told.iter().all(|told| !told.contains("the secret")), "{told:?}");
}
