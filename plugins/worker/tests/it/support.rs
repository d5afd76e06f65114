//! A server of its own for each test, with models and without.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use skep::job::{EventKind, EventStream, JobId, JobRecord};
use skep::plugin::Linked;
use skep::store::MemoryStore;
use skep::{Config, JobRequest, Problem, Router};
use tempfile::TempDir;
use {skep_infer as _, skep_model as _, skep_worker as _};

/// The program that these tests start as a worker.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_skep-worker");

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A program that takes requests, never answers, and ends as a worker should.
pub(crate) const SILENT: &str = "while read -r line; do :; done";

/// A program that loads whatever it's asked to and answers "ok"; to what says "hang", not before it's
/// cancelled; and what says "crash" ends it.
pub(crate) const READY: &str = r#"
while read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case "$line" in
    *'"load"'*) result='{"context":8,"threads":1,"load_ms":1}' ;;
    *hang*) continue ;;
    *crash*) echo "no such tensor" >&2; exit 3 ;;
    *) result='{"text":"ok","finish_reason":"stop","usage":{"prompt_tokens":1,"completion_tokens":1,"cached_tokens":0},"timings":{"prompt_ms":1,"generation_ms":1,"tokens_per_second":1.0}}' ;;
    esac
    echo "{\"id\":$id,\"result\":$result}"
done"#;

pub(crate) struct Server {
    pub(crate) router: Router,
    directory: TempDir,
}

/// A job that is read.
pub(crate) struct Job {
    pub(crate) id: JobId,
    events: EventStream,
    pub(crate) seen: Vec<EventKind>,
}

impl Server {
    /// A server whose workers are `command`.
    pub(crate) async fn with(command: Value) -> Self {
        Self::configured(json!({ "command": command })).await
    }

    /// A server whose workers run the shell's `script`.
    pub(crate) async fn with_script(script: &str) -> Self {
        let server = Self::with(json!(["sh", "-c", script])).await;
        server.import(&server.file("llama"), "tiny").await;
        server
    }

    pub(crate) async fn configured(worker: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = directory.path().join("data");
        config.plugins.insert("worker".into(), worker);
        let store = MemoryStore::new(1 << 26);
        let router = Router::start(config, Linked::all(), Arc::new(store)).await.unwrap();
        Self { router, directory }
    }

    /// A server with real workers and a real model, `smollm2`.
    pub(crate) async fn real() -> Self {
        Self::real_with(json!({})).await
    }

    /// The same, with a configuration of its workers.
    pub(crate) async fn real_with(mut worker: Value) -> Self {
        worker["command"] = json!([WORKER]);
        let server = Self::configured(worker).await;
        server.import(&smollm2(), "smollm2").await;
        server
    }

    pub(crate) async fn import(&self, path: &Path, id: &str) {
        self.call("model_import", json!({ "path": path, "id": id })).await.unwrap();
    }

    pub(crate) async fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        self.router.call(operation, input).await
    }

    pub(crate) async fn workers(&self) -> Vec<Value> {
        let Value::Array(workers) = self.call("worker_list", json!({})).await.unwrap() else {
            panic!("the workers are a list")
        };
        workers
    }

    /// The one worker, once it has been started again so often and has its model.
    pub(crate) async fn restarted(&self, times: u64) -> Value {
        eventually("it's there again", async || {
            let worker = self.workers().await.pop()?;
            (worker["restarts"] == times && worker.get("slots").is_some()).then_some(worker)
        })
        .await
    }

    /// The one worker, as soon as there is one.
    pub(crate) async fn worker(&self) -> Value {
        eventually("there is a worker", async || self.workers().await.pop()).await
    }

    pub(crate) async fn job(&self, operation: &str, input: Value) -> Job {
        let job = self.router.create_job(JobRequest::new(operation, input)).await.unwrap();
        let events = self.router.execute_job(job.id, 0).await.unwrap();
        Job { id: job.id, events, seen: Vec::new() }
    }

    /// The job as it ended.
    pub(crate) async fn end(&self, job: &Job) -> JobRecord {
        let record = self.router.wait(job.id, PATIENCE).await.unwrap();
        assert!(record.state.is_end(), "the job goes on: {:?}", job.seen);
        record
    }

    /// The result of a job that succeeded.
    pub(crate) async fn result(&self, job: &Job) -> Value {
        let record = self.end(job).await;
        serde_json::from_str(record.state.result().unwrap().get()).unwrap()
    }

    /// The problem of a job that failed.
    pub(crate) async fn problem(&self, job: &Job) -> Problem {
        self.end(job).await.state.result().unwrap_err()
    }

    /// A small GGUF file of `architecture` that no engine loads.
    pub(crate) fn file(&self, architecture: &str) -> PathBuf {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        let mut file = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        file.extend([text("general.architecture"), vec![8, 0, 0, 0], text(architecture)].concat());
        file.extend([text("weights"), vec![1, 0, 0, 0]].concat());
        file.extend([&8_u64.to_le_bytes()[..], &[0; 12], &[0; 128]].concat());
        let path = self.directory.path().join(architecture).with_extension("gguf");
        std::fs::write(&path, file).unwrap();
        path
    }
}

impl Job {
    /// Reads on to the first event that `wanted` takes.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&EventKind) -> bool) {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(event) = self.events.next().await {
                self.seen.push(event.unwrap().kind);
                if self.seen.last().is_some_and(&wanted) {
                    return true;
                }
            }
            false
        });
        let found = found.await.unwrap_or(false);
        assert!(found, "{what} did not come: {:?}", self.seen);
    }

    /// Reads on to the next output.
    pub(crate) async fn output(&mut self) -> Value {
        self.until("output", |kind| matches!(kind, EventKind::Output(_))).await;
        match self.seen.last() {
            Some(EventKind::Output(value)) => value.clone(),
            _ => unreachable!("it was just seen"),
        }
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) {
        self.until("the end", |kind| matches!(kind, EventKind::End(_))).await;
    }
}

/// The test model. `$SKEP_MODELS` says in which directory it is, if not in `target/models`.
pub(crate) fn smollm2() -> PathBuf {
    let directory = std::env::var_os("SKEP_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"),
        PathBuf::from,
    );
    let path = directory.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let Ok(found) = path.canonicalize() else {
        panic!("{} is missing: run `./x models`", path.display())
    };
    found
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether process `pid` is there.
pub(crate) fn runs(pid: &Value) -> bool {
    kill("-0", pid)
}

/// Sends a signal. Returns whether there was someone to get it.
pub(crate) fn kill(signal: &str, pid: &Value) -> bool {
    let mut kill = std::process::Command::new("kill");
    let status = kill.args([signal, &pid.to_string()]).stderr(std::process::Stdio::null()).status();
    status.unwrap().success()
}
