//! Workers that end for want of work, or so that others have room; loading and unloading.

use std::path::Path;

use serde_json::{Value, json};
use skep::job::EventKind;

use crate::support::{READY, Server, eventually};

/// A server whose workers answer at once, with the models `a`, `b` and `c`, which are all of one size,
/// and that size.
async fn server(mut config: Value) -> (Server, u64) {
    config["command"] = json!(["sh", "-c", READY]);
    let server = Server::configured(config).await;
    for id in ["a", "b", "c"] {
        server.import(&server.file("llama"), id).await;
    }
    let model = server.call("model_get", json!({ "id": "a" })).await.unwrap();
    (server, model["bytes"].as_u64().unwrap())
}

async fn spawn(server: &Server, model: &str) -> Value {
    server.call("worker_spawn", json!({ "model": model })).await.unwrap()
}

fn ask(model: &str, prompt: &str) -> Value {
    json!({ "model": model, "prompt": prompt })
}

/// The models that workers hold, the oldest worker's first.
async fn loaded(server: &Server) -> Vec<String> {
    let workers = server.workers().await;
    workers.iter().map(|worker| worker["model"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_worker_without_work_ends_and_the_next_job_starts_another() {
    let (server, _) = server(json!({ "idle_unload": "300ms" })).await;
    let worker = spawn(&server, "a").await;
    eventually("it has ended", async || server.workers().await.is_empty().then_some(())).await;
    let problem = server.call("worker_get", json!({ "id": worker["id"] })).await.unwrap_err();
    assert_eq!(problem.code, "unknown-worker");
    let answer = server.call("infer", ask("a", "Hi")).await.unwrap();
    assert_ne!(answer["worker_id"], worker["id"]);
}

#[tokio::test]
async fn for_one_more_worker_the_one_ends_that_was_used_the_longest_ago() {
    for limit in ["max_workers", "max_memory"] {
        // The size isn't known before there's a server.
        let (_, size) = server(json!({})).await;
        let two = if limit == "max_workers" { 2 } else { 2 * size };
        let (server, _) = server(json!({ limit: two })).await;
        for model in ["a", "b"] {
            spawn(&server, model).await;
        }
        server.call("infer", ask("a", "Hi")).await.unwrap();
        spawn(&server, "c").await;
        assert_eq!(loaded(&server).await, ["a", "c"], "{limit}");
    }
}

#[tokio::test]
async fn a_worker_that_is_in_use_never_ends_for_another() {
    let (_, size) = server(json!({})).await;
    let (server, _) = server(json!({ "max_memory": size })).await;
    spawn(&server, "a").await;
    let job = server.job("infer", ask("a", "hang")).await;
    eventually("it has the job", async || (server.worker().await["jobs"] == 1).then_some(())).await;
    let problem = server.call("worker_spawn", json!({ "model": "b" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("out-of-memory", 503), "{problem}");
    assert_eq!(
        (&problem.extensions["needed"], &problem.extensions["free"]),
        (&json!(size), &json!(0))
    );
    assert!(problem.retry_after().is_some());
    server.router.cancel_job(job.id).await.unwrap();
    eventually("the job has left", async || (server.worker().await["jobs"] == 0).then_some(()))
        .await;
    spawn(&server, "b").await;
    assert_eq!(loaded(&server).await, ["b"]);
}

#[tokio::test]
async fn a_model_that_fits_nowhere_is_refused_by_its_size() {
    let (server, size) = server(json!({ "max_memory": 10 })).await;
    let problem = server.call("worker_spawn", json!({ "model": "a" })).await.unwrap_err();
    assert_eq!(problem.code, "out-of-memory");
    assert!(problem.detail.contains(&format!("takes {size} bytes")), "{problem}");
}

#[tokio::test]
async fn what_cannot_be_had_ends_no_worker() {
    let (_, size) = server(json!({})).await;
    let llama = json!({ "program": "no-such-llama" });
    let config = json!({ "max_memory": 2 * size, "max_workers": 2, "llama_server": llama });
    let (server, _) = server(config).await;
    for (id, bytes) in [("large", size + size / 2), ("giant", 3 * size)] {
        let path = server.file(id);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        server.import(&path, id).await;
    }
    for model in ["a", "b"] {
        spawn(&server, model).await;
    }
    // It never fits.
    let problem = server.call("worker_spawn", json!({ "model": "giant" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.retry_after()), ("out-of-memory", None), "{problem}");
    let missing = json!({ "model": "c", "worker": "llama-server" });
    let problem = server.call("worker_spawn", missing).await.unwrap_err();
    assert_eq!(problem.code, "missing-program", "{problem}");
    // It would fit if `a` had no job.
    let job = server.job("infer", ask("a", "hang")).await;
    eventually("it has the job", async || (server.workers().await[0]["jobs"] == 1).then_some(()))
        .await;
    let problem = server.call("worker_spawn", json!({ "model": "large" })).await.unwrap_err();
    assert_eq!(problem.code, "out-of-memory", "{problem}");
    assert!(problem.retry_after().is_some(), "{problem}");
    assert_eq!(loaded(&server).await, ["a", "b"]);
    server.router.cancel_job(job.id).await.unwrap();
    eventually("the job has left", async || (server.workers().await[0]["jobs"] == 0).then_some(()))
        .await;
    spawn(&server, "large").await;
    assert_eq!(loaded(&server).await, ["large"]);
}

async fn attach(server: &Server, model: &str) {
    let input = json!({ "url": "http://127.0.0.1:9", "model": model });
    server.call("worker_attach", input).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_attached_stays_without_work() {
    let (server, _) = server(json!({ "idle_unload": "300ms" })).await;
    attach(&server, "theirs").await;
    spawn(&server, "a").await;
    eventually("ours has ended", async || {
        (!loaded(&server).await.contains(&"a".to_owned())).then_some(())
    })
    .await;
    assert_eq!(loaded(&server).await, ["theirs"]);
}

#[tokio::test]
async fn a_server_that_is_attached_takes_no_workers_place_and_ends_for_none() {
    let (server, _) = server(json!({ "max_workers": 1 })).await;
    attach(&server, "theirs").await;
    spawn(&server, "a").await;
    spawn(&server, "b").await;
    assert_eq!(loaded(&server).await, ["theirs", "b"]);
    attach(&server, "others").await;
    assert_eq!(loaded(&server).await, ["theirs", "b", "others"]);
}

#[tokio::test]
async fn no_more_than_64_servers_can_be_attached() {
    let (server, _) = server(json!({})).await;
    for number in 0..64 {
        attach(&server, &number.to_string()).await;
    }
    let input = json!({ "url": "http://127.0.0.1:9", "model": "m" });
    let refused = server.router.call("worker_attach", input).await.unwrap_err();
    assert_eq!((&*refused.code, refused.status), ("too-many-workers", 429));
}

#[tokio::test]
async fn a_job_that_waits_knows_how_many_are_before_it() {
    let (server, _) = server(json!({})).await;
    spawn(&server, "a").await;
    let mut jobs = Vec::new();
    for count in 1..=3 {
        jobs.push(server.job("infer", ask("a", "hang")).await);
        eventually("it's in the queue", async || {
            (server.worker().await["jobs"] == count).then_some(())
        })
        .await;
    }
    let mut last = jobs.pop().unwrap();
    let is_told = |done, total| {
        move |kind: &EventKind| match kind {
            EventKind::Progress(told) => {
                told.unit == "jobs before this one"
                    && (told.done, told.total) == (done, Some(total))
            }
            _ => false,
        }
    };
    last.until("its place", is_told(0, 2)).await;
    server.router.cancel_job(jobs[1].id).await.unwrap();
    last.until("its next place", is_told(1, 2)).await;
}

/// A program that is [`READY`] once the file `gate` is there.
fn gated(gate: &Path) -> String {
    format!("while ! test -e '{}'; do sleep 0.01; done; {READY}", gate.display())
}

#[tokio::test]
async fn who_waits_for_a_load_that_is_given_up_has_the_model_loaded_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let server = Server::with_script(&gated(&gate)).await;
    let spawn = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    let worker = server.worker().await;
    let load = server.job("model_load", json!({ "id": "tiny" })).await;
    let infer = server.job("infer", ask("tiny", "Hi")).await;
    let mut named = ask("tiny", "Hi");
    named["worker_id"] = worker["id"].clone();
    let named = server.job("infer", named).await;
    eventually("both wait", async || (server.worker().await["jobs"] == 3).then_some(())).await;
    server.router.cancel_job(spawn.id).await.unwrap();
    // Who wants that worker and no other learns why it isn't there.
    let problem = server.problem(&named).await;
    assert_eq!(problem.code, "worker-not-loaded", "{problem}");
    assert!(problem.detail.contains("cancelled"), "{problem}");
    std::fs::write(gate, "").unwrap();
    let answer = server.result(&infer).await;
    assert_eq!(answer["text"], "ok");
    assert_eq!(answer["worker_id"], server.result(&load).await["id"]);
    assert_ne!(answer["worker_id"], worker["id"]);
}

#[tokio::test]
async fn who_waits_for_a_load_that_fails_learns_why() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let problem = json!({
        "type": "about:blank", "title": "No", "status": 422, "code": "no-tensor",
        "detail": "it has no tensors",
    });
    let script = format!(
        r#"read -r line; while ! test -e '{}'; do sleep 0.01; done; echo '{{"id":1,"error":{problem}}}'; cat > /dev/null"#,
        gate.display()
    );
    let server = Server::with_script(&script).await;
    let spawn = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    let mut named = ask("tiny", "Hi");
    named["worker_id"] = server.worker().await["id"].clone();
    let named = server.job("infer", named).await;
    eventually("it waits", async || (server.worker().await["jobs"] == 2).then_some(())).await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(server.problem(&spawn).await.code, "no-tensor");
    let problem = server.problem(&named).await;
    assert_eq!(problem.code, "worker-not-loaded", "{problem}");
    assert!(problem.detail.contains("it has no tensors"), "{problem}");
}

#[tokio::test]
async fn a_load_and_jobs_that_come_at_once_find_one_worker() {
    let (server, _) = server(json!({})).await;
    let (load, first, second) = tokio::join!(
        server.call("model_load", json!({ "id": "a" })),
        server.call("infer", ask("a", "Hi")),
        server.call("infer", ask("a", "Hi")),
    );
    let id = &load.unwrap()["id"];
    assert_eq!((&first.unwrap()["worker_id"], &second.unwrap()["worker_id"]), (id, id));
    assert_eq!(loaded(&server).await, ["a"]);
}

#[tokio::test]
async fn a_load_waits_for_a_worker_that_is_loading() {
    // It loads once it may.
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let server = Server::with_script(&gated(&gate)).await;
    let spawn = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    let worker = server.worker().await;
    assert_eq!(worker["state"], "loading");
    let load = server.job("model_load", json!({ "id": "tiny" })).await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(server.result(&load).await["id"], worker["id"]);
    assert_eq!(server.result(&spawn).await["id"], worker["id"]);
    assert_eq!(server.workers().await.len(), 1);
}

#[tokio::test]
async fn a_model_is_loaded_once_and_unloaded_for_good() {
    let (server, _) = server(json!({})).await;
    let load = async || server.call("model_load", json!({ "id": "a" })).await.unwrap();
    let (worker, at_once) = tokio::join!(load(), load());
    assert_eq!((&worker["model"], &worker["state"]), (&json!("a"), &json!("idle")));
    assert_eq!((&at_once["id"], &load().await["id"]), (&worker["id"], &worker["id"]));
    spawn(&server, "b").await;
    let unloaded = server.call("model_unload", json!({ "id": "a" })).await.unwrap();
    assert_eq!(unloaded, json!({ "id": "a", "workers": [worker["id"]] }));
    assert_eq!(loaded(&server).await, ["b"]);
    let nothing = server.call("model_unload", json!({ "id": "a" })).await.unwrap();
    assert_eq!(nothing["workers"], json!([]));
    let problem = server.call("model_load", json!({ "id": "none" })).await.unwrap_err();
    assert_eq!(problem.code, "unknown-model");
}
