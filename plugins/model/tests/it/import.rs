//! `model_import`: what it takes, and what it refuses.

use std::fs;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use skep::JobRequest;
use skep::job::{Event, EventKind};

use crate::support::{Server, gguf};

#[tokio::test]
async fn a_file_becomes_a_model_with_what_its_header_says() {
    let server = Server::start().await;
    let path = server.file("My Model.Q4_1.gguf", &gguf(1000, 7));
    let model = server.call("model_import", json!({ "path": path })).await.unwrap();
    assert_eq!(model["id"], "my-model.q4_1");
    assert_eq!(model["file"], "My Model.Q4_1.gguf");
    assert_eq!(model["architecture"], "llama");
    assert_eq!(model["context_length"], 2048);
    assert_eq!(model["parameters"], 1000);
    assert_eq!(model["bytes"], fs::metadata(&path).unwrap().len());
    assert_eq!(model["sha256"].as_str().unwrap().len(), 64);
    assert!(model.get("quantisation").is_none());
}

#[tokio::test]
async fn the_bytes_are_counted_as_progress() {
    let server = Server::start().await;
    let content = gguf(3 << 20, 0);
    let path = server.file("a.gguf", &content);
    let request = JobRequest::new("model_import", json!({ "path": path }));
    let job = server.router.create_job(request).await.unwrap();
    let events = server.router.execute_job(job.id, 0).await.unwrap();
    let events: Vec<Event> = events.try_collect().await.unwrap();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Progress(progress) => Some((progress.done, progress.total)),
            _ => None,
        })
        .collect();
    let total = Some(content.len() as u64);
    assert_eq!(told.first(), Some(&(0, total)));
    assert_eq!(told.last(), Some(&(content.len() as u64, total)));
}

#[tokio::test]
async fn the_same_file_by_the_same_id_is_imported_once() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    let first = server.import(&path, "a").await.unwrap();
    let second = server.import(&path, "a").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(server.kept(), ["a"]);
}

#[tokio::test]
async fn another_file_does_not_take_an_id() {
    let server = Server::start().await;
    let first = server.import(&server.file("a.gguf", &gguf(100, 1)), "a").await.unwrap();
    for other in [gguf(100, 2), gguf(200, 1)] {
        let problem = server.import(&server.file("b.gguf", &other), "a").await.unwrap_err();
        assert_eq!((&*problem.code, problem.status), ("model-exists", 409), "{problem}");
    }
    assert_eq!(server.call("model_get", json!({ "id": "a" })).await.unwrap(), first);
    assert_eq!(server.kept(), ["a"]);
}

#[tokio::test]
async fn imports_of_one_file_at_once_give_one_model() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(1 << 20, 1));
    let (first, second, third) = tokio::join!(
        server.import(&path, "a"),
        server.import(&path, "a"),
        server.import(&path, "a")
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(third.unwrap()["id"], "a");
    assert_eq!(server.kept(), ["a"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_model_is_a_link_to_the_file_and_not_to_a_link() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    let link = path.with_file_name("link.gguf");
    symlink(&path, &link).unwrap();
    server.import(&link, "a").await.unwrap();
    let kept = fs::symlink_metadata(server.models().join("a/model.gguf")).unwrap();
    assert_eq!(kept.ino(), fs::metadata(&path).unwrap().ino());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_on_another_file_system_is_copied() {
    use std::os::unix::fs::MetadataExt;
    let server = Server::start().await;
    // `/dev/shm` is a file system of its own; where there is none there is nothing to try.
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = other.path().join("a.gguf");
    fs::write(&path, gguf(3 << 20, 1)).unwrap();
    server.import(&path, "a").await.unwrap();
    let kept = server.models().join("a/model.gguf");
    assert_ne!(fs::metadata(&kept).unwrap().dev(), fs::metadata(&path).unwrap().dev());
    assert_eq!(fs::read(&kept).unwrap(), fs::read(&path).unwrap());
}

#[tokio::test]
async fn what_is_no_model_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let broken = server.file("broken.gguf", b"GGUF\x03\0\0\0 and then nothing of use");
    let text = server.file("text.gguf", b"Once upon a time");
    let mut content = gguf(1000, 1);
    content.truncate(content.len() - 1000);
    let cut = server.file("cut.gguf", &content);
    for path in [broken, text, cut] {
        let problem = server.import(&path, "a").await.unwrap_err();
        assert_eq!((&*problem.code, problem.status), ("invalid-model", 422), "{problem}");
        assert!(problem.detail.contains(path.to_str().unwrap()), "{problem}");
    }
    assert!(server.kept().is_empty(), "{:?}", server.kept());
}

#[tokio::test]
async fn a_path_that_leads_to_no_file_is_refused() {
    let server = Server::start().await;
    let directory = server.models();
    let missing = directory.join("missing.gguf");
    for path in [directory.to_str().unwrap(), missing.to_str().unwrap(), "a.gguf", "", "/dev/null"]
    {
        let problem = server.call("model_import", json!({ "path": path, "id": "a" })).await;
        let problem = problem.unwrap_err();
        assert_eq!((&*problem.code, problem.status), ("invalid-path", 422), "{problem}");
    }
}

#[tokio::test]
async fn an_id_that_could_be_a_path_is_refused_before_there_is_a_job() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    for id in ["../a", "a/b", "A", "", ".a"] {
        let problem = server.import(&path, id).await.unwrap_err();
        assert_eq!(problem.code, "invalid-input", "{problem}");
        assert_eq!(problem.extensions["errors"][0]["pointer"], "/id");
    }
}

#[tokio::test]
async fn a_cancelled_import_leaves_nothing() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(64 << 20, 1));
    let request = JobRequest::new("model_import", json!({ "path": path, "id": "a" }));
    let job = server.router.create_job(request).await.unwrap();
    let mut events = server.router.execute_job(job.id, 0).await.unwrap();
    while let Some(event) = events.next().await {
        if matches!(event.unwrap().kind, EventKind::Progress(_)) {
            break;
        }
    }
    server.router.cancel_job(job.id).await.unwrap();
    let job = server.router.wait(job.id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(job.state.as_str(), "cancelled");
    assert!(server.kept().is_empty(), "{:?}", server.kept());
}
