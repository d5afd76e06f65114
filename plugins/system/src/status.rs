//! `status`.

use serde_json::{Value, json};
use skep::placement::LOCALHOST;
use skep::prelude::*;
use skep::problem::Code;

/// What is here and what is going on.
#[skep::data]
struct Status {
    /// The machines that run workers, each with what it has; this one is the first.
    hives: Vec<Hive>,
    /// The jobs of this server.
    jobs: Jobs,
}

/// A machine that can run workers.
#[skep::data]
struct Hive {
    /// Its name; this machine is `localhost`.
    id: String,
    /// Whether it tells that it's alive: `online`, `late` or `offline`.
    state: String,
    /// Why nothing is heard of it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Its server's version; absent, as all that follows, if a plugin that tells it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// What the machine has, as `hive_status` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity: Option<Value>,
    /// Its server's jobs, as `hive_status` tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jobs: Option<Value>,
    /// Its workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<Value>>,
    /// Its models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    models: Option<Vec<Value>>,
}

/// How many jobs there are.
#[skep::data]
struct Jobs {
    /// Jobs that haven't ended, the one that asks included.
    live: usize,
    /// Of these, how many wait for a place.
    queued: usize,
}

/// Show the hives with their workers and models, and how many jobs there are.
///
/// Of other machines it's what they last told, so that none is waited for.
#[skep::operation(read_only, idempotent)]
async fn status(job: &JobContext) -> Result<Status> {
    let counts = job.router().job_counts();
    let jobs = Jobs { live: counts.live, queued: counts.queued };
    let Some(Value::Array(listed)) = look(job, "hive_list", json!({})).await? else {
        let hive = Hive {
            workers: list(job, "worker_list").await?,
            models: list(job, "model_list").await?,
            ..Hive::new(LOCALHOST)
        };
        return Ok(Status { hives: vec![hive], jobs });
    };
    let mut hives = Vec::new();
    for listed in &listed {
        let id = listed["id"].as_str().unwrap_or_default();
        let mut hive = Hive::new(id);
        if let Some(status) = look(job, "hive_status", json!({ "hive_id": id })).await? {
            hive.tell(&status);
            hives.push(hive);
        }
    }
    Ok(Status { hives, jobs })
}

impl Hive {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            state: "online".to_owned(),
            failure: None,
            version: None,
            capacity: None,
            jobs: None,
            workers: None,
            models: None,
        }
    }

    /// Takes over what `hive_status` tells.
    fn tell(&mut self, status: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (hive, heartbeat) = (&status["hive"], &status["heartbeat"]);
        self.state = text(&hive["state"]).unwrap_or_default();
        self.failure = text(&hive["failure"]);
        self.version = text(&heartbeat["version"]);
        self.capacity = heartbeat.get("capacity").cloned();
        self.jobs = heartbeat.get("jobs").cloned();
        self.workers = heartbeat["workers"].as_array().cloned();
        self.models = heartbeat["models"].as_array().cloned();
    }
}

/// What another plugin's operation tells, if there is one of that name. One that fails is missing in the
/// tree, which is worth more than none at all.
async fn look(job: &JobContext, operation: &str, input: Value) -> Result<Option<Value>> {
    match job.router().peek(operation, input).await {
        Ok(told) => Ok(Some(told)),
        Err(problem) if problem.is(Code::UnknownOperation) => Ok(None),
        Err(problem) => {
            job.log(LogLevel::Warn, format!("`{operation}` failed: {problem}")).await?;
            Ok(None)
        }
    }
}

/// What another plugin's operation lists.
async fn list(job: &JobContext, operation: &str) -> Result<Option<Vec<Value>>> {
    Ok(match look(job, operation, json!({})).await? {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    })
}
