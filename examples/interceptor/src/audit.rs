//! A line of JSON for each job that has ended.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep::job::{Caller, JobRecord, StateName};
use skep::plugin::RouterHandle;
use skep::prelude::*;
use skep::store::JobQuery;
use skep::{Interceptor, Value, json};

/// How many jobs are listed at once.
const PAGE: usize = 500;

/// The log: `audit.jsonl` in the plugin's directory.
struct Audit {
    log: Arc<Mutex<Log>>,
}

struct Log {
    file: File,
    /// The jobs that it has, while those are looked for that it has not.
    known: Option<HashSet<String>>,
}

/// A line for each job that has ended.
#[skep::plugin(name = "audit", interceptor)]
impl Audit {
    async fn start(cx: PluginContext) -> Result<Self> {
        let path = cx.data_dir()?.join("audit.jsonl");
        let known = Some(known(&path)?);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let log = Arc::new(Mutex::new(Log { file, known }));
        cx.spawn(catch_up(cx.router().clone(), log.clone()));
        Ok(Self { log })
    }
}

#[skep::async_trait]
impl Interceptor for Audit {
    async fn after(&self, job: &JobRecord) {
        lock(&self.log).write(job);
    }
}

/// Writes the jobs of which a server before this one died before it had written them.
async fn catch_up(router: RouterHandle, log: Arc<Mutex<Log>>) {
    let Some(router) = router.started().await else { return };
    let mut query = JobQuery::newest(PAGE);
    query.states = vec![StateName::Succeeded, StateName::Failed, StateName::Cancelled];
    while let Ok(jobs) = router.jobs(&query).await {
        let Some(oldest) = jobs.last() else { break };
        query.before = Some(oldest.id);
        for job in jobs {
            if let Ok(job) = router.job(job.id).await {
                lock(&log).write(&job);
            }
        }
    }
    lock(&log).known = None;
}

/// The ids of the jobs that the log has.
fn known(path: &Path) -> Result<HashSet<String>> {
    if !path.exists() {
        return Ok(HashSet::new());
    }
    let lines = BufReader::new(File::open(path)?).lines().map_while(std::io::Result::ok);
    let id = |line: String| {
        let entry: Value = line.parse().ok()?;
        Some(entry["job"].as_str()?.to_owned())
    };
    Ok(lines.filter_map(id).collect())
}

impl Log {
    fn write(&mut self, job: &JobRecord) {
        let id = job.id.to_string();
        if self.known.as_mut().is_some_and(|known| !known.insert(id.clone())) {
            return;
        }
        let caller = match &job.caller {
            Caller::Client(name) => json!({ "client": name.as_deref() }),
            Caller::Job(parent) => json!({ "job": parent.to_string() }),
            _ => json!("server"),
        };
        let line = json!({
            "job": id,
            "operation": *job.operation,
            "caller": caller,
            "state": job.state.as_str(),
            "ended_at": job.ended_at.map(|at| at.to_string()),
        });
        // One short write to a file that is only appended to: a line is there whole, or not at all.
        if let Err(error) = self.file.write_all(format!("{line}\n").as_bytes()) {
            eprintln!("audit: {error}");
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
