//! `status`.

use serde_json::{Value, json};
use skep::prelude::*;

/// What is here and what is going on.
#[skep::data]
struct Status {
    /// The machines that run workers, each with what it has.
    hives: Vec<Hive>,
    /// The jobs of this server.
    jobs: Jobs,
}

/// A machine that can run workers.
#[skep::data]
struct Hive {
    /// Its name; this machine is `localhost`.
    id: String,
    /// Its workers, as `worker_list` tells them; absent if no plugin serves workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<Value>>,
    /// Its models, as `model_list` tells them; absent if no plugin serves models.
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
#[skep::operation(read_only, idempotent)]
async fn status(job: &JobContext) -> Result<Status> {
    // Counted first: the calls below are jobs too.
    let counts = job.router().job_counts();
    let hive = Hive {
        id: "localhost".to_owned(),
        workers: list(job, "worker_list").await?,
        models: list(job, "model_list").await?,
    };
    Ok(Status { hives: vec![hive], jobs: Jobs { live: counts.live, queued: counts.queued } })
}

/// What another plugin's operation lists, if there is one of that name. One that fails is missing
/// in the tree, which is worth more than none at all.
async fn list(job: &JobContext, operation: &str) -> Result<Option<Vec<Value>>> {
    if job.router().operation(operation).is_err() {
        return Ok(None);
    }
    match job.call(operation, json!({})).await {
        Ok(list) => Ok(Some(list)),
        Err(_) if job.is_cancelled() => Ok(None),
        Err(error) => {
            job.log(LogLevel::Warn, format!("`{operation}` failed: {error}")).await?;
            Ok(None)
        }
    }
}
