//! What was acknowledged is there after the process was killed, wherever it was.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::value::RawValue;
use skep::JobId;
use skep::store::{DocumentStore, JobQuery, PutDocument, Retention, Store};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::sample::{Log, SEGMENT, check, ended, job, open, raw, read};

/// Where the child finds its data directory.
const DATA_DIR: &str = "SKEP_SQLITE_TEST_CRASH";

/// How many jobs the child runs at a time.
const JOBS: usize = 8;

/// How many ended jobs the child's sweeps leave.
const KEPT: u64 = 40;

/// What the child has said to be done for each job.
type Told = HashMap<JobId, Done>;

/// The last acknowledged event, and the events that the job's checkpoint and its document name.
#[derive(Default)]
struct Done {
    event: u64,
    checkpoint: u64,
    document: u64,
    /// Its end was asked for, so that it may have ended and be forgotten.
    is_ending: bool,
    has_ended: bool,
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill_and_nothing_is_half_there() {
    let dir = tempdir().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let mut told = Told::new();
    for _ in 0..8 {
        let before_the_kill = random.usize(1..600);
        kill(spawn(dir.path()), before_the_kill, &mut told);
        assert_kept(dir.path(), &told).await;
    }
}

/// Re-runs this test binary as the process that is to be killed.
fn spawn(data_dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(DATA_DIR, data_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child once it has acknowledged `count` calls; it may have gone on meanwhile.
fn kill(mut child: Child, count: usize, told: &mut Told) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..count {
        note(&lines.next().expect("the child has ended").unwrap(), told);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it told last is as good; a line that was cut off says nothing.
    while let Some(Ok(line)) = lines.next() {
        note(&line, told);
    }
}

fn note(line: &str, told: &mut Told) {
    let words: Vec<_> = line.split(' ').collect();
    // What else stands here is the test harness's.
    let ["done", id, last, what, "."] = words[..] else { return };
    let done = told.entry(id.parse().unwrap()).or_default();
    let last = last.parse().unwrap();
    match what {
        "saved" => done.checkpoint = last,
        "put" => done.document = last,
        "ending" => done.is_ending = true,
        _ => done.event = last,
    }
    done.has_ended |= what == "ended";
}

async fn assert_kept(data_dir: &Path, told: &Told) {
    check(data_dir).await.unwrap();
    let store = open(data_dir);
    let (mut ended, mut kept_ended) = (0, 0);
    for (id, done) in told {
        let document = store.document("crash", &id.to_string()).await.unwrap();
        let document = document.map(|document| number(&document.value));
        assert!(document.unwrap_or_default() >= done.document, "a document is lost");
        ended += u64::from(done.has_ended);
        let Some(job) = store.job(*id).await.unwrap() else {
            assert!(done.is_ending, "an acknowledged job is lost");
            continue;
        };
        kept_ended += u64::from(job.state.is_end());
        assert!(job.state.is_end() || !done.has_ended, "an acknowledged end is lost");
        let checkpoint = store.checkpointed(*id, "place").await.unwrap();
        let checkpoint = checkpoint.map(|value| number(&value)).unwrap_or_default();
        assert!(job.state.is_end() || checkpoint >= done.checkpoint, "a checkpoint is lost");
        let kept = read(&store, *id).await;
        // The log is a function of its length.
        let mut whole = Log::default();
        while whole.bytes.len() < kept.len() {
            whole.segment(size(whole.last));
        }
        assert!(kept == whole.bytes, "the log of job {id} is half there");
        assert!(whole.last >= done.event, "event {} of job {id} is lost", done.event);
    }
    assert!(kept_ended >= ended.min(KEPT), "{kept_ended} of {ended} ended jobs are kept");
    // What wasn't acknowledged may be there, but whole.
    for job in store.list(&JobQuery::newest(100_000)).await.unwrap() {
        let kept = read(&store, job.id).await;
        assert!(kept.is_empty() || kept.ends_with(b"\n\n"));
    }
}

fn number(value: &RawValue) -> u64 {
    value.get().parse().unwrap()
}

/// How large event `last + 1` is: logs begin small, and outgrow the database.
fn size(last: u64) -> usize {
    if last.is_multiple_of(3) { SEGMENT / 2 } else { 500 }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the test above kills"]
async fn child() {
    let store = Arc::new(open(Path::new(&std::env::var(DATA_DIR).unwrap())));
    let mut jobs = JoinSet::new();
    for number in 0.. {
        let store = store.clone();
        jobs.spawn(async move {
            let (job, mut log) = (job(), Log::default());
            store.accept(&job).await.unwrap();
            say(job.id, &log, "accepted");
            for _ in 0..number % 12 {
                let segment = log.segment(size(log.last));
                store.append(job.id, vec![segment]).await.unwrap();
                say(job.id, &log, "appended");
                let value = raw(&log.last.to_string());
                if log.last.is_multiple_of(2) {
                    store.checkpoint(job.id, "place", &value).await.unwrap();
                    say(job.id, &log, "saved");
                } else {
                    let key = job.id.to_string();
                    store.put_document(&PutDocument::new("crash", &key, value)).await.unwrap();
                    say(job.id, &log, "put");
                }
            }
            say(job.id, &log, "ending");
            let rest = vec![log.segment(size(log.last))];
            store.end(&ended(&job, &log), rest).await.unwrap();
            say(job.id, &log, "ended");
            let mut keep = Retention::ALL;
            keep.max_jobs = KEPT;
            store.sweep(&keep).await.unwrap();
        });
        if jobs.len() == JOBS {
            jobs.join_next().await.unwrap().unwrap();
        }
    }
}

/// Tells the parent what is done, in one write.
fn say(id: JobId, log: &Log, what: &str) {
    let line = format!("done {id} {} {what} .\n", log.last);
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}
