//! `skep store check` finds damage and names it; `skep store backup` copies what is whole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use skep::JobId;
use skep::store::{Retention, Store};
use skep_sqlite::SqliteStore;
use tempfile::{TempDir, tempdir};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::sample::{Log, SEGMENT, back_up, check, ended, job, log_file, open, raw, read, sweep};

/// A store with two ended jobs: one with a small log, and one with a long one.
async fn filled() -> (TempDir, JobId, JobId) {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for size in [1_000, SEGMENT] {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        for _ in 0..10 {
            store.append(job.id, vec![log.segment(size)]).await.unwrap();
        }
        store.end(&ended(&job, &log), Vec::new()).await.unwrap();
        ids.push(job.id);
    }
    drop(store);
    (dir, ids[0], ids[1])
}

/// Changes one byte, at `at` of a file.
fn corrupt(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_whole_store_is_found_whole_also_while_it_is_used() {
    let (dir, ..) = filled().await;
    let whole = check(dir.path()).await.unwrap();
    assert!(whole.starts_with("format 3, 2 jobs, "), "{whole}");
    assert!(whole.ends_with(", 1 log files: all whole"), "{whole}");
    let _store = open(dir.path());
    assert_eq!(check(dir.path()).await.unwrap(), whole);
}

/// A copy of a store's database and of its log, in a directory where SQLite can't make what it needs
/// beside them: one that stands for a directory that can't be written to, for root too.
fn copy_to_look_at(data_dir: &Path) -> TempDir {
    let copy = tempdir().unwrap();
    for name in ["jobs.sqlite3", "jobs.sqlite3-wal"] {
        if data_dir.join(name).exists() {
            fs::copy(data_dir.join(name), copy.path().join(name)).unwrap();
        }
    }
    // SQLite follows no link there.
    symlink("nowhere", copy.path().join("jobs.sqlite3-shm")).unwrap();
    copy
}

#[tokio::test]
async fn a_store_that_was_closed_is_looked_at_also_where_nothing_can_be_written() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    store.accept(&job()).await.unwrap();
    drop(store);
    let whole = check(copy_to_look_at(dir.path()).path()).await.unwrap();
    assert!(whole.contains(", 1 jobs, "), "{whole}");
}

#[tokio::test]
async fn a_database_is_not_looked_at_without_its_log() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    store.accept(&job()).await.unwrap();
    let copy = copy_to_look_at(dir.path());
    let said = check(copy.path()).await.unwrap_err();
    let expected = format!(
        "can't read {}/jobs.sqlite3: what was written last is in its `-wal` file",
        copy.path().display()
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn a_byte_that_changed_in_a_log_file_is_found() {
    let (dir, _, long) = filled().await;
    corrupt(&log_file(dir.path(), long), 3 * SEGMENT);
    let found = check(dir.path()).await.unwrap_err();
    let expected = format!("the log of job {long}: events 3 to 3 aren't what was written");
    assert!(found.ends_with(&expected), "{found}");
}

#[tokio::test]
async fn a_byte_that_changed_in_a_small_log_is_found() {
    let (dir, small, _) = filled().await;
    let path = dir.path().join("jobs.sqlite3");
    // Wherever it stands: pages that rows have moved from still have them.
    let text = b"id: 7\n";
    let database = fs::read(&path).unwrap();
    for at in 0..database.len() {
        if database[at..].starts_with(text) {
            corrupt(&path, at);
        }
    }
    let found = check(dir.path()).await.unwrap_err();
    let expected = format!("the log of job {small}: events 7 to 7 aren't what was written");
    assert!(found.ends_with(&expected), "{found}");
}

#[tokio::test]
async fn a_log_file_that_was_cut_off_is_found() {
    let (dir, _, long) = filled().await;
    let path = log_file(dir.path(), long);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = check(dir.path()).await.unwrap_err();
    let expected = format!("the log of job {long}: events 10 to 10 aren't in its file");
    assert!(found.contains(&expected), "{found}");
}

#[tokio::test]
async fn a_log_file_that_is_missing_is_found() {
    let (dir, _, long) = filled().await;
    fs::remove_file(log_file(dir.path(), long)).unwrap();
    let found = check(dir.path()).await.unwrap_err();
    assert!(found.contains(&format!("the log file of job {long}: No such file")), "{found}");
}

#[tokio::test]
async fn a_log_file_without_a_job_is_named_though_it_is_no_damage() {
    let (dir, ..) = filled().await;
    let orphan = job().id;
    let path = log_file(dir.path(), orphan);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "id: 1\n").unwrap();
    let said = check(dir.path()).await.unwrap();
    let expected = format!(
        "; 1 log files have no job, and are removed after the next start of a server: {orphan}"
    );
    assert!(said.ends_with(&expected), "{said}");
}

#[tokio::test]
async fn a_page_that_is_damaged_is_found() {
    let (dir, ..) = filled().await;
    let path = dir.path().join("jobs.sqlite3");
    let pages = fs::read(&path).unwrap().len() / 16_384;
    // The first page is what makes it a database, and the second tells where others are.
    for page in 2..pages {
        let before = fs::read(&path).unwrap();
        let mut damaged = before.clone();
        damaged[page * 16_384..(page + 1) * 16_384].fill(0x5a);
        fs::write(&path, damaged).unwrap();
        let found = check(dir.path()).await.unwrap_err();
        assert!(found.contains("is damaged"), "page {page}: {found}");
        fs::write(&path, before).unwrap();
    }
    check(dir.path()).await.unwrap();
}

#[tokio::test]
async fn jobs_that_are_counted_wrongly_are_found() {
    let (dir, ..) = filled().await;
    let db = rusqlite::Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    db.execute_batch("UPDATE totals SET ended = 7").unwrap();
    let found = check(dir.path()).await.unwrap_err();
    assert!(found.ends_with("2 ended jobs are stored, and 7 are counted"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_jobs_run_has_all_that_was_there_before_it_began() {
    let dir = tempdir().unwrap();
    let store = std::sync::Arc::new(open(dir.path()));
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0);
    let writing = tokio::spawn(write(store.clone(), count, stopped));
    counted.wait_for(|count| *count >= 20).await.unwrap();
    let before = store.list(&skep::store::JobQuery::newest(10_000)).await.unwrap();

    let to = dir.path().join("backup");
    let said = back_up(dir.path(), &to).await.unwrap();
    assert!(said.ends_with(&format!("to {}", to.display())), "{said}");
    stop.send(true).unwrap();
    let logs = writing.await.unwrap();

    check(&to).await.unwrap();
    let copy: SqliteStore = open(&to);
    for job in before {
        let kept = copy.job(job.id).await.unwrap().expect("the job is in the backup");
        let (_, log) = logs.iter().find(|(id, _)| *id == job.id).unwrap();
        let copied = read(&copy, job.id).await;
        assert!(log.bytes.starts_with(&copied), "the backup has what never was");
        assert!(!job.state.is_end() || copied == log.bytes);
        assert!(kept.last_event >= job.last_event);
    }
}

/// Runs jobs with small logs and long ones until it's told to stop. Returns what was kept of them.
async fn write(
    store: std::sync::Arc<SqliteStore>,
    count: watch::Sender<u32>,
    stopped: watch::Receiver<bool>,
) -> Vec<(JobId, Log)> {
    let mut logs = Vec::new();
    while !*stopped.borrow() {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        for _ in 0..3 {
            let size = if logs.len() % 2 == 0 { SEGMENT } else { 100 };
            store.append(job.id, vec![log.segment(size)]).await.unwrap();
        }
        store.end(&ended(&job, &log), Vec::new()).await.unwrap();
        logs.push((job.id, log));
        count.send_modify(|count| *count += 1);
    }
    logs
}

/// A backup stands still at the first job's log, which is a pipe, until the test has written it.
#[tokio::test]
async fn a_job_that_ends_and_is_forgotten_while_it_is_copied_is_forgotten_in_the_backup() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        store.append(job.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
        store.checkpoint(job.id, "place", &raw("1")).await.unwrap();
        jobs.push((job, log));
    }
    let pipe = log_file(dir.path(), jobs[0].0.id);
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let to = dir.path().join("backup");
    let (data_dir, destination) = (dir.path().to_owned(), to.clone());
    let backing_up = tokio::spawn(async move { back_up(&data_dir, &destination).await });
    let opening = spawn_blocking(move || File::options().write(true).open(pipe));
    let mut first_log = opening.await.unwrap().unwrap();

    let (forgotten, log) = &jobs[1];
    store.end(&ended(forgotten, log), Vec::new()).await.unwrap();
    let mut nothing = Retention::ALL;
    nothing.max_jobs = 0;
    sweep(&store, &nothing).await;
    assert!(!log_file(dir.path(), forgotten.id).exists());
    first_log.write_all(&jobs[0].1.bytes).unwrap();
    drop(first_log);

    backing_up.await.unwrap().unwrap();
    check(&to).await.unwrap();
    let copy = open(&to);
    assert!(copy.job(forgotten.id).await.unwrap().is_none());
    for (job, log) in [&jobs[0], &jobs[2]] {
        log.assert_kept(&copy, job.id).await;
        assert!(copy.checkpointed(job.id, "place").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_backups_name_may_end_in_a_slash() {
    let (dir, ..) = filled().await;
    back_up(dir.path(), &dir.path().join("copies/backup/")).await.unwrap();
    let names = fs::read_dir(dir.path().join("copies")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["backup"]);
    check(&dir.path().join("copies/backup")).await.unwrap();
}

#[tokio::test]
async fn a_backup_never_takes_the_place_of_something() {
    let (dir, ..) = filled().await;
    let to = tempdir().unwrap();
    fs::write(to.path().join("notes"), "").unwrap();
    let said = back_up(dir.path(), to.path()).await.unwrap_err();
    assert!(said.contains("a backup goes into a directory of its own"), "{said}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_backup_of_a_damaged_store_fails_and_leaves_nothing() {
    let (dir, _, long) = filled().await;
    fs::remove_file(log_file(dir.path(), long)).unwrap();
    let place = tempdir().unwrap();
    let said = back_up(dir.path(), &place.path().join("backup")).await.unwrap_err();
    assert!(said.contains("is damaged: it's missing"), "{said}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
