//! `model_download`: whatever a server does, what comes of it is the right file or a named error.

use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skep::job::{Event, EventKind};
use skep::{JobRequest, Problem};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{Server, gguf};
use crate::web::{Answer, Ask, Then, Web};

pub(crate) const MB: usize = 1_000_000;

pub(crate) const ETAG: &str = "\"one\"";

/// A model of some MB, each of its bytes at a place of its own.
pub(crate) fn model(megabytes: usize, seed: u8) -> Vec<u8> {
    let mut content = gguf(megabytes * MB, 0);
    let weights = content.len() - megabytes * MB;
    for (at, byte) in content[weights..].iter_mut().enumerate() {
        *byte = u8::try_from((at / 7 + at * 31) % 251).unwrap() ^ seed;
    }
    content
}

/// A server that may ask `web`, patient for a second.
pub(crate) async fn server_for(web: &Web) -> Server {
    server_with(web, json!({})).await
}

pub(crate) async fn server_with(web: &Web, more: Value) -> Server {
    let mut config = json!({
        "allowed_hosts": [web.address.to_string()],
        "stall_timeout": "1s",
        "retries": 1,
        "keep_free": 0,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Server::with(config).await
}

pub(crate) async fn download(server: &Server, url: &str) -> Result<Value, Problem> {
    server.call("model_download", json!({ "model": url })).await
}

/// What of a model is on the disk is the file.
pub(crate) fn assert_is(server: &Server, model: &Value, content: &[u8]) {
    let id = model["id"].as_str().unwrap();
    let kept = std::fs::read(server.models().join(id).join("model.gguf")).unwrap();
    assert!(
        kept == content,
        "{id} has {} bytes that aren't the file's {}",
        kept.len(),
        content.len()
    );
    assert_eq!(model["bytes"], content.len());
    assert_eq!(server.part(id), None, "the part stays behind");
}

#[track_caller]
fn assert_refused(server: &Server, result: Result<Value, Problem>, code: &str) -> Problem {
    let problem = result.unwrap_err();
    assert_eq!(problem.code, code, "{problem}");
    assert!(server.kept().is_empty(), "{:?}", server.kept());
    problem
}

#[tokio::test]
async fn a_file_becomes_a_model_with_its_source() {
    let content = model(3, 0);
    let file = content.clone();
    let web = Web::start(move |_, ask| Answer::file(&file, ETAG, ask)).await;
    let server = server_for(&web).await;
    let url = web.url("/models/Tiny.Q4_1.gguf?download=true");
    let model = download(&server, &url).await.unwrap();
    assert_eq!(model["id"], "tiny.q4_1");
    assert_eq!(model["source"], url);
    assert_eq!(model["architecture"], "llama");
    assert_is(&server, &model, &content);

    // The same again is there already; another file isn't taken for it.
    assert_eq!(download(&server, &url).await.unwrap(), model);
    let other = download(&server, &web.url("/Tiny.Q4_1.gguf")).await.unwrap_err();
    assert_eq!(other.code, "model-exists", "{other}");
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_server_that_breaks_off_after_each_mb_is_asked_for_the_rest() {
    let content = model(5, 0);
    let file = content.clone();
    let web = Web::start(move |_, ask| Answer::file(&file, ETAG, ask).cut(MB)).await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
    let asked = web.asked();
    assert_eq!(asked.len(), 6, "{asked:?}");
    for (ask, number) in asked.iter().zip(0..).skip(1) {
        assert_eq!(ask.range, Some(number * MB));
        assert_eq!(ask.if_range.as_deref(), Some(ETAG));
    }
}

#[tokio::test]
async fn a_file_that_changes_half_way_is_fetched_anew() {
    let (old, new) = (model(3, 0), model(3, 1));
    let content = new.clone();
    let web = Web::start(move |number, ask| match number {
        0 => Answer::file(&old, ETAG, ask).cut(2 * MB),
        _ => Answer::file(&new, "\"two\"", ask),
    })
    .await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
}

/// A server that ignores `If-Range`, and sends the rest of another file.
fn changeling(number: usize, ask: &Ask) -> Answer {
    let file = if number == 0 { model(3, 0) } else { model(3, 1) };
    let ask = Ask { if_range: None, ..ask.clone() };
    Answer::file(&file, ETAG, &ask).cut(if number == 0 { 2 * MB } else { usize::MAX })
}

#[tokio::test]
async fn pieces_of_two_files_are_never_a_model_where_its_digest_is_known() {
    let web = Web::start(changeling).await;
    let server = server_for(&web).await;
    let digest = server.import(&server.file("new.gguf", &model(3, 1)), "new").await.unwrap();
    let input = json!({ "model": web.url("/a.gguf"), "sha256": digest["sha256"] });
    let downloaded = server.call("model_download", input).await.unwrap();
    assert_is(&server, &downloaded, &model(3, 1));
    assert_eq!(web.asked().len(), 3, "the whole file, once the pieces didn't fit");
}

#[tokio::test]
async fn a_file_of_another_digest_is_refused() {
    let file = model(1, 0);
    let web = Web::start(move |_, ask| Answer::file(&file, ETAG, ask)).await;
    let server = server_for(&web).await;
    let input = json!({ "model": web.url("/a.gguf"), "sha256": "A".repeat(64) });
    let result = server.call("model_download", input).await;
    let problem = assert_refused(&server, result, "digest-mismatch");
    assert!(problem.detail.contains(&"a".repeat(64)), "{problem}");
    assert_eq!(server.part("a"), Some(0));
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let content = model(3, 0);
    let file = content.clone();
    let web = Web::start(move |number, _| {
        let whole = Answer::new("200 OK", &["ETag: \"one\""], &file);
        if number == 0 { whole.cut(2 * MB) } else { whole }
    })
    .await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);

    // One that breaks off each time as well never comes to an end, and is given up.
    let file = content.clone();
    let web = Web::start(move |_, _| Answer::new("200 OK", &[], &file).cut(MB)).await;
    let server = server_for(&web).await;
    assert_refused(&server, download(&server, &web.url("/a.gguf")).await, "download-failed");
}

#[tokio::test]
async fn a_length_that_is_a_lie_is_found_out() {
    let content = model(2, 0);
    // More than there is, each time.
    let file = content.clone();
    let web = Web::start(move |_, ask| match ask.range {
        None => {
            let whole = Answer::file(&file, ETAG, ask);
            let lie = format!("Content-Length: {}", file.len() + 1000);
            let truth = format!("Content-Length: {}", file.len());
            Answer { head: whole.head.replace(&truth, &lie), ..whole }
        }
        Some(_) => Answer::file(&file, ETAG, ask),
    })
    .await;
    let server = server_for(&web).await;
    assert_refused(&server, download(&server, &web.url("/a.gguf")).await, "download-failed");
    // Less than there is: what comes is no whole model.
    let web = Web::start(move |_, _| Answer::new("200 OK", &[], &content[..MB])).await;
    let server = server_for(&web).await;
    assert_refused(&server, download(&server, &web.url("/a.gguf")).await, "invalid-model");
}

#[tokio::test]
async fn without_a_length_the_files_own_header_says_whether_it_is_whole() {
    let content = model(1, 0);
    for cut in [1, 0] {
        let file = content[..content.len() - cut].to_owned();
        let head = "HTTP/1.1 200 OK\r\n".to_owned();
        let web = Web::start(move |_, _| Answer {
            head: head.clone(),
            body: file.clone(),
            then: Then::Ends,
        })
        .await;
        let server = server_for(&web).await;
        let result = download(&server, &web.url("/a.gguf")).await;
        if cut == 0 {
            assert_is(&server, &result.unwrap(), &content);
        } else {
            assert_refused(&server, result, "invalid-model");
        }
    }
}

#[tokio::test]
async fn a_file_whose_length_is_told_later_goes_on_where_it_broke_off() {
    let content = model(2, 0);
    let file = content.clone();
    let web = Web::start(move |number, ask| match number {
        0 => {
            let head = format!("HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nTransfer-Encoding: chunked\r\n");
            let body = [format!("{:x}\r\n", file.len()).as_bytes(), &file[..MB]].concat();
            Answer { head, body, then: Then::Ends }
        }
        _ => Answer::file(&file, ETAG, ask),
    })
    .await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
    assert_eq!(web.asked()[1].range, Some(MB));
}

#[tokio::test]
async fn a_file_that_has_all_come_is_whole_whatever_page_the_server_sends_to_say_so() {
    let content = model(1, 0);
    let file = content.clone();
    let web = Web::start(move |number, ask| match number {
        0 => {
            // All of it, but not that this was all.
            let head = format!("HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nTransfer-Encoding: chunked\r\n");
            let body = [format!("{:x}\r\n", file.len()).as_bytes(), &file].concat();
            Answer { head, body, then: Then::Ends }
        }
        _ => Answer::file(&file, ETAG, ask),
    })
    .await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
    let asked = web.asked();
    assert_eq!((asked.len(), asked[1].range), (2, Some(content.len())));
}

#[tokio::test]
async fn an_encoded_file_is_refused() {
    let file = model(1, 0);
    let web =
        Web::start(move |_, _| Answer::new("200 OK", &["Content-Encoding: gzip"], &file)).await;
    let server = server_for(&web).await;
    let result = download(&server, &web.url("/a.gguf")).await;
    let problem = assert_refused(&server, result, "download-refused");
    assert!(problem.detail.contains("gzip"), "{problem}");
}

#[tokio::test]
async fn a_page_in_place_of_a_model_is_refused_at_its_first_bytes() {
    let page = [b"<!doctype html>".as_slice(), &vec![b' '; 20 * MB]].concat();
    let web =
        Web::start(move |_, _| Answer::new("200 OK", &["Content-Type: text/html"], &page)).await;
    let server = server_for(&web).await;
    assert_refused(&server, download(&server, &web.url("/a.gguf")).await, "invalid-model");
    assert_eq!(server.part("a"), Some(0));
}

#[tokio::test]
async fn a_redirect_is_followed_but_not_to_a_private_address() {
    let content = model(1, 0);
    let file = content.clone();
    let web = Web::start(move |_, ask| match &*ask.path {
        "/near.gguf" => Answer::new("302 Found", &["Location: /a.gguf"], b""),
        "/round.gguf" => Answer::new("307 Temporary Redirect", &["Location: /round.gguf"], b""),
        "/away.gguf" => {
            // The server's own machine, at a port that nobody has allowed.
            Answer::new("302 Found", &["Location: https://127.0.0.1:1/a.gguf"], b"")
        }
        "/cloud.gguf" => {
            Answer::new("302 Found", &["Location: http://169.254.169.254/latest"], b"")
        }
        "/name.gguf" => Answer::new("302 Found", &["Location: https://localhost/a.gguf"], b""),
        _ => Answer::file(&file, ETAG, ask),
    })
    .await;
    let server = server_for(&web).await;
    for (path, code) in [
        ("/away.gguf", "address-not-allowed"),
        ("/cloud.gguf", "address-not-allowed"),
        ("/name.gguf", "address-not-allowed"),
        ("/round.gguf", "download-refused"),
    ] {
        assert_refused(&server, download(&server, &web.url(path)).await, code);
    }
    let model = download(&server, &web.url("/near.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_given_it() {
    let content = model(1, 0);
    let file = content.clone();
    let web = Web::start(move |number, ask| match number {
        0 => Answer::new("429 Too Many Requests", &["Retry-After: 1"], b""),
        _ => Answer::file(&file, ETAG, ask),
    })
    .await;
    let server = server_for(&web).await;
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);

    let web =
        Web::start(|_, _| Answer::new("503 Service Unavailable", &["Retry-After: 3600"], b""))
            .await;
    let server = server_for(&web).await;
    let result = download(&server, &web.url("/a.gguf")).await;
    let problem = assert_refused(&server, result, "download-failed");
    assert_eq!(problem.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_server_that_stalls_is_asked_for_the_rest() {
    let content = model(2, 0);
    let file = content.clone();
    let web = Web::start(move |number, ask| {
        let answer = Answer::file(&file, ETAG, ask);
        if number == 0 { Answer { then: Then::Stalls, ..answer.cut(MB) } } else { answer }
    })
    .await;
    let server = server_for(&web).await;
    let request = JobRequest::new("model_download", json!({ "model": web.url("/a.gguf") }));
    let job = server.router.create_job(request).await.unwrap();
    let events = server.router.execute_job(job.id, 0).await.unwrap();
    let events: Vec<Event> = events.try_collect().await.unwrap();
    let told = events.iter().any(|event| match &event.kind {
        EventKind::Log(line) => line.message.contains("sent nothing for 1 s"),
        _ => false,
    });
    assert!(told, "{events:?}");
    let model = server.call("model_get", json!({ "id": "a" })).await.unwrap();
    assert_is(&server, &model, &content);
    assert_eq!(web.asked()[1].range, Some(MB));
}

#[tokio::test]
async fn a_server_that_sends_next_to_nothing_does_not_hold_its_job() {
    let file = model(2, 0);
    let web = Web::start(move |_, ask| Answer {
        then: Then::Drips,
        ..Answer::file(&file, ETAG, ask).cut(if ask.range.is_none() { MB } else { 0 })
    })
    .await;
    let server = server_for(&web).await;
    let result = download(&server, &web.url("/a.gguf")).await;
    let problem = assert_refused(&server, result, "download-failed");
    assert!(problem.detail.contains("sent no more than"), "{problem}");
    // The first MB was worth it, what came after it wasn't.
    assert_eq!(web.asked().len(), 3);
    assert!(server.part("a").is_some_and(|kept| kept >= MB as u64 - 65_536));
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_by_https_again_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        for asked in 1.. {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            assert_eq!(asked, 1, "it's asked again");
        }
    });
    let server = Server::with(json!({ "allowed_hosts": ["127.0.0.1"] })).await;
    let result = download(&server, &format!("https://{address}/a.gguf")).await;
    let problem = assert_refused(&server, result, "download-refused");
    assert!(problem.detail.contains("TLS"), "{problem}");
    assert!(!asked.is_finished());
    asked.abort();
}

#[tokio::test]
async fn what_is_not_there_is_told_at_once() {
    let web = Web::start(|_, _| Answer::new("404 Not Found", &[], b"")).await;
    let server = server_for(&web).await;
    let result = download(&server, &web.url("/a.gguf")).await;
    let problem = assert_refused(&server, result, "unknown-file");
    assert_eq!(problem.status, 404);
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_told_before_the_first_byte() {
    let file = model(1, 0);
    let length = file.len() as u64;
    let web = Web::start(move |_, ask| Answer::file(&file, ETAG, ask)).await;
    let reserve = 1_u64 << 60;
    let server = server_with(&web, json!({ "keep_free": reserve })).await;
    let result = download(&server, &web.url("/a.gguf")).await;
    let problem = assert_refused(&server, result, "disk-full");
    assert_eq!(problem.status, 507);
    assert_eq!(problem.extensions["needed"], length + reserve);
    assert!(problem.extensions["free"].as_u64().is_some_and(|free| free < reserve), "{problem}");
    assert_eq!(server.part("a"), Some(0));

    let server = server_with(&web, json!({ "max_size": "1KiB" })).await;
    assert_refused(&server, download(&server, &web.url("/a.gguf")).await, "download-too-large");
}

#[tokio::test]
async fn the_hubs_digest_is_checked_and_its_token_stays_with_it() {
    let content = model(1, 0);
    let file = content.clone();
    let store = Web::start(move |_, ask| Answer::file(&file, ETAG, ask)).await;
    let address = store.address;
    let hub = Web::start(move |_, ask| {
        let right = "c0ffee".repeat(11)[..64].to_owned();
        let to = format!("Location: http://{address}/blob");
        let etag = format!("X-Linked-Etag: \"{right}\"");
        match &*ask.path {
            "/owner/repo/resolve/main/a.gguf" => Answer::new("302 Found", &[&to], b""),
            "/owner/repo/resolve/v2/sub/b.gguf" => Answer::new("302 Found", &[&to, &etag], b""),
            _ => Answer::new("404 Not Found", &[], b""),
        }
    })
    .await;
    let hubs = json!({ "hf_endpoint": hub.url(""), "hf_token": "hf_secret" });
    let server = server_with(&store, hubs).await;
    let result = download(&server, "hf:owner/repo@v2/sub/b.gguf").await;
    assert_refused(&server, result, "digest-mismatch");
    let model = download(&server, "hf:owner/repo/a.gguf").await.unwrap();
    assert_eq!(model["source"], "hf:owner/repo/a.gguf");
    assert_is(&server, &model, &content);
    for ask in hub.asked() {
        assert_eq!(ask.authorization.as_deref(), Some("Bearer hf_secret"));
    }
    for ask in store.asked() {
        assert_eq!(ask.authorization, None);
    }
}

#[tokio::test]
async fn a_file_of_the_servers_own_machine_is_imported() {
    let server = Server::start().await;
    let path = server.file("My Model.gguf", &model(1, 0));
    let url = format!("file://{}", path.display()).replace(' ', "%20");
    let input = json!({ "model": url, "sha256": "0".repeat(64) });
    let result = server.call("model_download", input).await;
    assert_refused(&server, result, "digest-mismatch");
    let imported = download(&server, &url).await.unwrap();
    assert_eq!(imported["id"], "my-model");
    assert_is(&server, &imported, &model(1, 0));
}

#[tokio::test]
async fn a_source_that_names_no_file_is_refused() {
    let server = Server::start().await;
    for source in ["a.gguf", "hf:owner/repo", "ftp://example.org/a.gguf", "file:///missing.gguf"] {
        let problem = download(&server, source).await.unwrap_err();
        assert_eq!(problem.status, 422, "{problem}");
    }
    // Not asked at all: there's no TLS, or it's this machine.
    for source in ["http://example.org/a.gguf", "https://127.0.0.1/a.gguf", "https://[::1]/a.gguf"]
    {
        let result = download(&server, source).await;
        assert_refused(&server, result, "address-not-allowed");
    }
    let problem = download(&server, "https://example.org/").await.unwrap_err();
    assert_eq!(problem.code, "invalid-id", "{problem}");
}
