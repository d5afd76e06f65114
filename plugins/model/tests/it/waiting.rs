//! Jobs that wait for a download, and what is kept when they don't.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use skep::JobRequest;
use skep::job::EventKind;

use crate::download::{ETAG, MB, assert_is, download, model, server_for, server_with};
use crate::support::Server;
use crate::web::{Answer, Then, Web};

#[tokio::test]
async fn twenty_downloads_at_once_are_one_transfer() {
    let content = model(3, 0);
    let file = content.clone();
    let web = Web::start(move |_, ask| Answer::file(&file, ETAG, ask)).await;
    let server = server_for(&web).await;
    let url = web.url("/a.gguf");
    let models = join_all((0..20).map(|_| download(&server, &url))).await;
    for model in models {
        assert_is(&server, &model.unwrap(), &content);
    }
    assert_eq!(web.asked().len(), 1);
}

/// Waits until a download has a part on the disk.
async fn begin(server: &Server, url: &str) -> skep::JobId {
    let request = JobRequest::new("model_download", json!({ "model": url }));
    let job = server.router.create_job(request).await.unwrap();
    let mut events = server.router.execute_job(job.id, 0).await.unwrap();
    loop {
        let event = events.next().await.expect("the download ends").unwrap();
        if matches!(event.kind, EventKind::Progress(progress) if progress.done >= MB as u64) {
            return job.id;
        }
    }
}

async fn cancel(server: &Server, job: skep::JobId) {
    server.router.cancel_job(job).await.unwrap();
    let job = server.router.wait(job, Duration::from_secs(10)).await.unwrap();
    assert_eq!(job.state.as_str(), "cancelled");
}

/// A server that stalls for the first `stalls` requests, and the file.
async fn stalling(stalls: usize) -> (Web, Vec<u8>) {
    let content = model(3, 0);
    let file = content.clone();
    let web = Web::start(move |number, ask| {
        let answer = Answer::file(&file, ETAG, ask);
        if number < stalls { Answer { then: Then::Stalls, ..answer.cut(2 * MB) } } else { answer }
    })
    .await;
    (web, content)
}

#[tokio::test]
async fn a_cancelled_download_goes_on_where_it_was() {
    let (web, content) = stalling(1).await;
    let server = server_with(&web, json!({ "stall_timeout": "1m" })).await;
    let job = begin(&server, &web.url("/a.gguf")).await;
    cancel(&server, job).await;
    let kept = server.part("a").unwrap();
    assert!(kept >= MB as u64 - 65_536, "{kept}");
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
    let resumed = web.asked()[1].range.unwrap();
    assert!(resumed as u64 >= kept, "{resumed}");
}

#[tokio::test]
async fn one_who_leaves_does_not_end_what_another_waits_for() {
    let (web, content) = stalling(1).await;
    let server = server_with(&web, json!({ "stall_timeout": "2s" })).await;
    let url = web.url("/a.gguf");
    let first = begin(&server, &url).await;
    let second = begin(&server, &url).await;
    cancel(&server, first).await;
    let second = server.router.wait(second, Duration::from_secs(30)).await.unwrap();
    assert_eq!(second.state.as_str(), "succeeded");
    let model = server.call("model_get", json!({ "id": "a" })).await.unwrap();
    assert_is(&server, &model, &content);
    assert_eq!(web.asked().len(), 2);
}

#[tokio::test]
async fn a_part_can_be_deleted_but_not_from_under_a_download() {
    let (web, content) = stalling(1).await;
    let server = server_with(&web, json!({ "stall_timeout": "1m" })).await;
    let job = begin(&server, &web.url("/a.gguf")).await;
    let delete = || server.call("model_delete", json!({ "id": "a" }));
    let problem = delete().await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("download-runs", 409), "{problem}");
    let other = server.call("model_download", json!({ "model": web.url("/b.gguf"), "id": "a" }));
    assert_eq!(other.await.unwrap_err().code, "download-runs");
    cancel(&server, job).await;
    assert_eq!(delete().await.unwrap(), json!({ "id": "a" }));
    assert_eq!(server.part("a"), None);
    assert_eq!(delete().await.unwrap_err().code, "unknown-model");
    let model = download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_is(&server, &model, &content);
    assert_eq!(web.asked()[1].range, None);
}

#[tokio::test]
async fn what_is_on_its_way_is_listed_and_what_is_kept_too() {
    let (web, content) = stalling(1).await;
    let mut server = server_with(&web, json!({ "stall_timeout": "1m" })).await;
    let list = async |server: &Server| -> Value {
        server.call("model_downloads", json!({})).await.unwrap()
    };
    assert_eq!(list(&server).await, json!([]));
    let job = begin(&server, &web.url("/a.gguf")).await;
    let running = list(&server).await;
    assert_eq!(running.as_array().unwrap().len(), 1);
    assert_eq!(running[0]["is_running"], true);
    cancel(&server, job).await;
    // Also by the next server.
    for _ in 0..2 {
        let kept = list(&server).await;
        let part = server.part("a").unwrap();
        let expected = json!([{
            "id": "a", "source": web.url("/a.gguf"), "bytes": part, "total": content.len(),
            "is_running": false,
        }]);
        assert_eq!(kept, expected);
        server.restart().await;
    }
    download(&server, &web.url("/a.gguf")).await.unwrap();
    assert_eq!(list(&server).await, json!([]));
}
