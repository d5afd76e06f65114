//! Other programs that have the database in their hands.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{fs, thread};

use futures_util::poll;
use rusqlite::Connection;
use skep::store::{DocumentStore, PutDocument, Store, StoreError};
use tempfile::tempdir;
use tokio::runtime::Builder;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;

use crate::sample::{Log, SEGMENT, job, open, raw};

#[tokio::test]
async fn writes_fail_while_another_program_has_locked_the_database_and_go_on_after() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (kept, mut log) = (job(), Log::default());
    store.accept(&kept).await.unwrap();
    store.append(kept.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
    let other = Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let late = job();
    let segment = log.segment(100);
    let failed = tokio::join!(store.accept(&late), store.append(kept.id, vec![segment.clone()]));
    for error in [failed.0.unwrap_err(), failed.1.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("another program has locked the database"), "{error}");
    }
    // Readers don't mind.
    assert!(store.job(late.id).await.unwrap().is_none());

    other.execute_batch("ROLLBACK").unwrap();
    store.accept(&late).await.unwrap();
    store.append(kept.id, vec![segment]).await.unwrap();
    log.assert_kept(&store, kept.id).await;
}

#[tokio::test]
async fn a_write_waits_for_a_program_that_is_soon_done() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let other = Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let job = job();
    let mut accepting = Box::pin(store.accept(&job));
    assert!(poll!(&mut accepting).is_pending());
    while store.stats().calls == 0 {
        yield_now().await;
    }
    // The writer stands before the lock. One that didn't wait would have said so by then.
    timeout(Duration::from_millis(100), &mut accepting).await.unwrap_err();
    other.execute_batch("COMMIT").unwrap();
    accepting.await.unwrap();
}

#[test]
fn readers_do_not_wait_for_operations_that_block() {
    let dir = tempdir().unwrap();
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().max_blocking_threads(1).build().unwrap().block_on(async {
        let (release, released) = mpsc::channel::<()>();
        let blocking = spawn_blocking(move || released.recv());
        let store = open(dir.path());
        let job = job();
        store.accept(&job).await.unwrap();
        let read = timeout(Duration::from_secs(10), store.job(job.id)).await;
        assert!(read.expect("a reader waits").unwrap().is_some());
        release.send(()).unwrap();
        blocking.await.unwrap().unwrap();
    });
}

#[tokio::test]
async fn the_databases_log_stays_small_under_readers_that_never_pause() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (database, is_done) = (dir.path().join("jobs.sqlite3"), Arc::new(AtomicBool::new(false)));
    let reading = thread::spawn({
        let (database, is_done) = (database.clone(), is_done.clone());
        move || read_without_pause(&database, &is_done)
    });
    let value = raw(&format!("\"{}\"", "x".repeat(1 << 20)));
    let mut largest = 0;
    for _ in 0..300 {
        store.put_document(&PutDocument::new("hive", "large", value.clone())).await.unwrap();
        let size = fs::metadata(dir.path().join("jobs.sqlite3-wal")).unwrap().len();
        largest = size.max(largest);
    }
    is_done.store(true, Ordering::Relaxed);
    reading.join().unwrap();
    assert!(largest < 160 << 20, "{largest} bytes");
}

/// Two that read, each for some milliseconds and over some commits, of whom one always does.
fn read_without_pause(database: &Path, is_done: &AtomicBool) {
    let begin = |db: &Connection| {
        db.execute_batch("BEGIN").unwrap();
        db.query_row("SELECT count(*) FROM totals", [], |_| Ok(())).unwrap();
    };
    let mut readers = [0, 1].map(|_| Connection::open(database).unwrap());
    begin(&readers[0]);
    while !is_done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
        begin(&readers[1]);
        readers[0].execute_batch("COMMIT").unwrap();
        readers.swap(0, 1);
    }
}
