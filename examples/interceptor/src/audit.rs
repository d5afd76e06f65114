//! A line of JSON for each job that has ended.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use skep::job::{Caller, JobRecord, StateName};
use skep::plugin::RouterHandle;
use skep::prelude::*;
use skep::store::JobQuery;
use skep::{Interceptor, JobId, Value, json};

/// How many jobs are listed at once.
const PAGE: usize = 500;

/// The log: `audit.jsonl` in the plugin's directory.
struct Audit {
    file: Arc<Mutex<File>>,
}

/// A line for each job that has ended.
#[skep::plugin(name = "audit", interceptor)]
impl Audit {
    async fn start(cx: PluginContext) -> Result<Self> {
        let path = cx.data_dir()?.join("audit.jsonl");
        let known = known(&path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let file = Arc::new(Mutex::new(file));
        cx.spawn(catch_up(cx.router().clone(), file.clone(), known));
        Ok(Self { file })
    }
}

#[skep::async_trait]
impl Interceptor for Audit {
    async fn after(&self, job: &JobRecord) {
        write(&self.file, job);
    }
}

/// Writes the jobs that had ended when the server died before they were written.
async fn catch_up(router: RouterHandle, file: Arc<Mutex<File>>, mut known: HashSet<String>) {
    let Some(router) = router.started().await else { return };
    let ended = [StateName::Succeeded, StateName::Failed, StateName::Cancelled];
    // Those that end from now on are told by `after`, and are newer than all that is listed here.
    let mut query = JobQuery::new(PAGE);
    query.states = ended.into();
    query.before = Some(JobId::new());
    while let Ok(jobs) = router.jobs(&query).await {
        let Some(last) = jobs.last() else { return };
        query.before = Some(last.id);
        for summary in jobs {
            if known.insert(summary.id.to_string())
                && let Ok(job) = router.job(summary.id).await
            {
                write(&file, &job);
            }
        }
    }
}

/// The ids of the jobs that the log has.
fn known(path: &Path) -> Result<HashSet<String>> {
    if !path.exists() {
        return Ok(HashSet::new());
    }
    let lines = BufReader::new(File::open(path)?).lines().map_while(std::io::Result::ok);
    let id = |line: String| {
        let entry: Value = skep::from_json(&line).ok()?;
        Some(entry["job"].as_str()?.to_owned())
    };
    Ok(lines.filter_map(id).collect())
}

fn write(file: &Mutex<File>, job: &JobRecord) {
    let caller = match &job.caller {
        Caller::Client(name) => json!({ "client": name.as_deref() }),
        Caller::Job(parent) => json!({ "job": parent.to_string() }),
        _ => json!("server"),
    };
    let line = json!({
        "job": job.id.to_string(),
        "operation": *job.operation,
        "caller": caller,
        "state": job.state.as_str(),
        "ended_at": job.ended_at.map(|at| at.to_string()),
    });
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    // One short write to a file that only appends: a line is there whole, or not at all.
    if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
        eprintln!("audit: {error}");
    }
}
