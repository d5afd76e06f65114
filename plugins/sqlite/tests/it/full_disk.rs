//! A full disk: files that can't grow any more, by a limit of the process that writes them.

use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skep::job::JobRecord;
use skep::store::{DocumentStore, PutDocument, Store, StoreError};
use skep_sqlite::SqliteStore;
use tempfile::tempdir;

use crate::sample::{Log, SEGMENT, check, ended, job, log_file, open, raw};

/// Where the child finds its data directory.
const DATA_DIR: &str = "SKEP_SQLITE_TEST_FULL_DISK";

#[tokio::test]
async fn a_store_without_room_refuses_and_goes_on_when_there_is_room_again() {
    let dir = tempdir().unwrap();
    // The limit's signal, which would end the child, is ignored from its start on.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["full_disk::child", "--exact", "--ignored", "--nocapture"])
        .env(DATA_DIR, dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    check(dir.path()).await.unwrap();
}

/// Lets no file grow beyond `bytes`.
fn limit_files(bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[tokio::test]
#[ignore = "the process that the test above starts, whose files are limited"]
async fn child() {
    let data_dir = std::env::var(DATA_DIR).unwrap();
    let store = open(Path::new(&data_dir));
    log_files(Path::new(&data_dir), &store).await;
    database(&store).await;
}

/// No room for logs in files; the database itself has some.
async fn log_files(data_dir: &Path, store: &SqliteStore) {
    let (old, mut old_log) = (job(), Log::default());
    let (new, mut new_log) = (job(), Log::default());
    for (job, log, size) in [(&old, &mut old_log, 600_000), (&new, &mut new_log, 60_000)] {
        store.accept(job).await.unwrap();
        store.append(job.id, vec![log.segment(size)]).await.unwrap();
    }
    limit_files(Some(1_000_000));
    let more = vec![old_log.segment(300_000), old_log.segment(300_000)];
    let first = vec![new_log.segment(1_500_000)];
    let before = std::fs::metadata(log_file(data_dir, old.id)).unwrap().len();
    for _ in 0..3 {
        assert_refused(&store.append(old.id, more.clone()).await);
        assert_refused(&store.append(new.id, first.clone()).await);
        // Nothing of it stays, and its space is given back.
        assert_eq!(std::fs::metadata(log_file(data_dir, old.id)).unwrap().len(), before);
        assert!(!log_file(data_dir, new.id).exists());
    }
    // What needs less room has it, also in one commit with what doesn't.
    let small = job();
    let (refused, accepted) =
        tokio::join!(store.append(old.id, more.clone()), store.accept(&small));
    assert_refused(&refused);
    accepted.unwrap();

    limit_files(None);
    store.append(old.id, more).await.unwrap();
    store.append(new.id, first).await.unwrap();
    for (job, log) in [(old, &mut old_log), (new, &mut new_log)] {
        let rest = vec![log.segment(SEGMENT)];
        store.end(&ended(&job, log), rest).await.unwrap();
        log.assert_kept(store, job.id).await;
    }
}

/// No room in the database.
async fn database(store: &SqliteStore) {
    let (running, mut log) = (job(), Log::default());
    store.accept(&running).await.unwrap();
    let large = raw(&format!("\"{}\"", "x".repeat(600_000)));
    limit_files(Some(1_000_000));
    let mut accepted = Vec::new();
    // A disk that is nearly full takes a few more.
    let refused = loop {
        let job = JobRecord::new("echo", large.clone());
        match store.accept(&job).await {
            Ok(_) => accepted.push(job),
            Err(error) => {
                assert_refused::<()>(&Err(error));
                break job;
            }
        }
        assert!(accepted.len() < 10, "the database grows beyond its limit");
    };
    let rest = vec![log.segment(60_000)];
    let end = ended(&running, &log);
    let put = PutDocument::new("hive", "a", large.clone());
    for _ in 0..3 {
        assert_refused(&store.accept(&refused).await);
        assert_refused(&store.end(&end, rest.clone()).await);
        assert_refused(&store.put_document(&put).await);
        assert!(store.job(refused.id).await.unwrap().is_none());
        assert!(!store.job(running.id).await.unwrap().unwrap().state.is_end());
        assert!(store.document("hive", "a").await.unwrap().is_none());
    }
    limit_files(None);
    store.accept(&refused).await.unwrap();
    store.end(&end, rest).await.unwrap();
    store.put_document(&put).await.unwrap();
    log.assert_kept(store, running.id).await;
    for job in accepted.iter().chain([&refused]) {
        assert!(store.job(job.id).await.unwrap().is_some());
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: &Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}
