//! The stock build, with a real model.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Server, frames};

/// How long a worker may outlive its server.
const ORPHAN: Duration = Duration::from_secs(3);

/// What is generated would take minutes, so whatever stops it early is seen to.
const LONG: u32 = 4000;

pub(crate) fn model() -> PathBuf {
    let models = std::env::var_os("SKEP_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models"),
        PathBuf::from,
    );
    let file = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "{} is missing: run `./x models`", file.display());
    file.canonicalize().expect("it's there")
}

/// The stock server, which has the model.
async fn server() -> Server {
    let server = Server::stock();
    let input = json!({ "path": model(), "id": "smollm2" });
    let imported = server.post("/v1/operations/model_import", &input).await;
    assert_eq!(imported.status(), 200, "{:?}", imported.text().await);
    server
}

fn story() -> Value {
    json!({ "model": "smollm2", "prompt": "Once upon a time", "max_tokens": LONG, "seed": 1 })
}

/// Waits for the job's first token.
async fn first_token(server: &Server, id: &str) {
    let mut stream = server.stream(id, 0).await.bytes_stream();
    let mut text = String::new();
    while let Some(part) = stream.next().await {
        text += &String::from_utf8_lossy(&part.unwrap());
        if frames(&text).iter().any(|event| event.event == "message") {
            return;
        }
    }
    panic!("the job ended without a token: {text}");
}

async fn workers(server: &Server) -> Vec<Value> {
    let listed = server.post("/v1/operations/worker_list", &json!({})).await;
    listed.json::<Value>().await.unwrap().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_question_is_answered_token_by_token_and_the_same_each_time() {
    let server = server().await;
    let chat = json!({
        "model": "smollm2", "temperature": 0, "seed": 1, "max_tokens": 32,
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": "What is the capital of France?" },
        ],
    });
    let mut texts = Vec::new();
    for _ in 0..2 {
        let id = server.job("infer", chat.clone()).await;
        let log = frames(&server.log(&id).await);
        let pieces: Vec<Value> = log
            .iter()
            .filter(|event| event.event == "message")
            .map(|event| serde_json::from_str(&event.data).unwrap())
            .collect();
        assert!(pieces.len() > 3, "{pieces:?}");
        let streamed: String = pieces.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
        let end: Value = serde_json::from_str(&log.last().unwrap().data).unwrap();
        assert_eq!(end["result"]["text"], streamed);
        assert_eq!(end["result"]["finish_reason"], "stop");
        assert!(end["result"]["usage"]["completion_tokens"].as_u64().unwrap() > 3, "{end}");
        assert!(end["result"]["timings"]["tokens_per_second"].as_f64().unwrap() > 0.0, "{end}");
        texts.push(streamed);
    }
    assert!(texts[0].contains("Paris"), "{texts:?}");
    assert_eq!(texts[0], texts[1]);
}

#[tokio::test]
async fn cancelling_frees_the_worker_at_once() {
    let server = server().await;
    let id = server.job("infer", story()).await;
    first_token(&server, &id).await;
    assert_eq!(server.cancel(&id).await.status(), 202);
    assert_eq!(server.ended(&id).await["state"], "cancelled");

    // A client that goes away takes the job that it called directly along.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client
        .post(format!("{}/v1/operations/infer", server.url))
        .header("accept", "text/event-stream")
        .json(&story())
        .send();
    let mut answer = call.await.unwrap();
    let id = answer.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
    answer.chunk().await.unwrap();
    drop(answer);
    assert_eq!(server.ended(&id).await["state"], "cancelled");

    // The worker is free: a short question doesn't wait for thousands of tokens.
    let mut short = story();
    short["max_tokens"] = 2.into();
    let answer = server.post("/v1/operations/infer", &short).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(workers(&server).await.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_no_worker_behind() {
    let mut server = server().await;
    let id = server.job("infer", story()).await;
    first_token(&server, &id).await;
    let pid = workers(&server).await[0]["pid"].as_u64().unwrap();
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists());
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let killed = Instant::now();
    while process.exists() {
        assert!(killed.elapsed() < ORPHAN, "worker {pid} has outlived its server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_fails_its_job_by_name_and_the_next_one_works() {
    let server = server().await;
    let id = server.job("infer", story()).await;
    first_token(&server, &id).await;
    let worker = workers(&server).await.remove(0);
    let pid = worker["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let ended = server.ended(&id).await;
    assert_eq!(ended["error"]["code"], "worker-crashed", "{ended}");
    let detail = ended["error"]["detail"].as_str().unwrap();
    assert!(detail.contains(worker["id"].as_str().unwrap()), "{detail}");

    let mut short = story();
    short["max_tokens"] = 2.into();
    assert_eq!(server.post("/v1/operations/infer", &short).await.status(), 200);
}

#[tokio::test]
async fn no_client_learns_where_the_server_keeps_its_files() {
    let server = server().await;
    let mut short = story();
    short["max_tokens"] = 2.into();
    assert_eq!(server.post("/v1/operations/infer", &short).await.status(), 200);
    let mut paths: Vec<String> =
        ["/v1/jobs?limit=500", "/v1/operations", "/health"].map(str::to_owned).into();
    // A list shows neither inputs nor results nor events.
    let jobs = server.json(&paths[0]).await;
    for job in jobs["jobs"].as_array().unwrap() {
        let path = format!("/v1/jobs/{}", job["job_id"].as_str().unwrap());
        paths.extend([format!("{path}/stream"), path]);
    }
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        let text = server.fetch(&path).await.text().await.unwrap();
        assert!(!text.contains(server.data().to_str().unwrap()), "{path}: {text}");
    }
}
