//! What can be opened, and what is refused with what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use skep::store::Store;
use skep_sqlite::SqliteStore;
use tempfile::tempdir;

use crate::sample::{Log, SEGMENT, check, job, open};

/// What is said when the store can't be opened; `DIR` stands for the data directory.
fn refusal(data_dir: &Path) -> String {
    let error = SqliteStore::open(data_dir).err().expect("the store is opened");
    error.to_string().replace(data_dir.to_str().unwrap(), "DIR")
}

#[test]
fn a_second_server_is_refused_by_the_name_of_the_first() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let holder = std::process::id();
    assert_eq!(
        refusal(dir.path()),
        format!(
            "DIR is in use by process {holder}: stop that server, or use another data directory"
        )
    );
    drop(store);
    open(dir.path());
}

#[test]
fn a_directory_that_is_not_there_is_made() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().join("a/b");
    open(&data_dir);
    assert!(data_dir.join("jobs.sqlite3").exists());
}

#[tokio::test]
async fn a_store_that_was_closed_leaves_one_database_without_a_log() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    store.accept(&job()).await.unwrap();
    assert!(store.job(job().id).await.unwrap().is_none());
    drop(store);
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["jobs.sqlite3", "logs", "skep.lock"]);
}

#[test]
fn commits_go_to_a_log_that_readers_do_not_wait_for() {
    let dir = tempdir().unwrap();
    let _store = open(dir.path());
    let other = Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused() {
    let dir = tempdir().unwrap();
    open(dir.path());
    // Also for root, whom permissions don't hold back: a directory stands where the lock is to be.
    fs::remove_file(dir.path().join("skep.lock")).unwrap();
    fs::create_dir(dir.path().join("skep.lock")).unwrap();
    assert_eq!(refusal(dir.path()), "can't write to DIR/skep.lock: Is a directory (os error 21)");
    fs::remove_dir(dir.path().join("skep.lock")).unwrap();

    // What SQLite makes beside the database, too.
    fs::create_dir(dir.path().join("jobs.sqlite3-wal")).unwrap();
    assert_eq!(
        refusal(dir.path()),
        format!("can't use DIR/jobs.sqlite3: unable to open database file{OWN}")
    );
    fs::remove_dir(dir.path().join("jobs.sqlite3-wal")).unwrap();
    open(dir.path());
}

/// What is said of a directory that isn't the server's own.
const OWN: &str =
    "; a server has to own its data directory: change who owns it, or use another one";

#[test]
fn a_directory_that_may_not_be_written_to_is_refused() {
    let dir = tempdir().unwrap();
    let of_mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    of_mode(dir.path(), 0o555);
    // Permissions don't hold root back.
    let is_root = fs::write(dir.path().join("probe"), "").is_ok();
    if !is_root {
        let said = format!("can't write to DIR/skep.lock: Permission denied (os error 13){OWN}");
        assert_eq!(refusal(dir.path()), said);
    }
    of_mode(dir.path(), 0o755);
    open(dir.path());
    // One that was used before.
    of_mode(dir.path(), 0o555);
    if !is_root {
        let said = refusal(dir.path());
        assert!(said.starts_with("can't use DIR/jobs.sqlite3: "), "{said}");
        assert!(said.ends_with(OWN), "{said}");
    }
    of_mode(dir.path(), 0o755);
    of_mode(&dir.path().join("jobs.sqlite3"), 0o444);
    if !is_root {
        let said = format!("can't write to DIR/jobs.sqlite3: permission denied{OWN}");
        assert_eq!(refusal(dir.path()), said);
    }
    of_mode(&dir.path().join("jobs.sqlite3"), 0o644);
    open(dir.path());
}

#[tokio::test]
async fn a_database_that_was_removed_is_refused_where_its_logs_are_left() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    store.append(job.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
    drop(store);
    let (path, away) = (dir.path().join("jobs.sqlite3"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/jobs.sqlite3 is damaged: it's missing, and its logs are there; put a backup in its \
         place, or use another data directory"
    );
    fs::rename(&away, &path).unwrap();
    log.assert_kept(&open(dir.path()), job.id).await;
}

#[test]
fn a_directory_of_logs_without_any_needs_no_database() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    open(dir.path());
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempdir().unwrap();
    let text = "not a database, but someone's notes\n".repeat(1_000);
    fs::write(dir.path().join("jobs.sqlite3"), &text).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/jobs.sqlite3 is damaged: file is not a database; put a backup in its place, or use \
         another data directory"
    );
    assert_eq!(fs::read_to_string(dir.path().join("jobs.sqlite3")).unwrap(), text);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("jobs.sqlite3");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE jobs (a)").unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/jobs.sqlite3 is not a database of Skep's: use another data directory"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempdir().unwrap();
    open(dir.path());
    let path = dir.path().join("jobs.sqlite3");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let message = format!(
        "DIR/jobs.sqlite3 was written by a newer Skep: its format is version 99, and this one, {}, \
         knows versions up to 3; use the newer Skep, or another data directory",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(refusal(dir.path()), message);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_database_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    store.append(job.id, vec![log.segment(60_000)]).await.unwrap();
    store.append(job.id, vec![log.segment(SEGMENT)]).await.unwrap();
    drop(store);
    let path = dir.path().join("jobs.sqlite3");
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(5_000) {
        fs::write(&path, &whole[..cut]).unwrap();
        let said = refusal(dir.path());
        assert!(said.starts_with("DIR/jobs.sqlite3 is damaged: "), "cut at {cut}: {said}");
        let remedy = "; put a backup in its place, or use another data directory";
        assert!(said.ends_with(remedy), "cut at {cut}: {said}");
    }
    fs::write(&path, &whole).unwrap();
    log.assert_kept(&open(dir.path()), job.id).await;
    check(dir.path()).await.unwrap();
}
