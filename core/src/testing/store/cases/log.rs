//! Logs: segments in, segments out.

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::job::{JobRecord, JobState};
use crate::store::Position;
use crate::testing::store::TestStore;
use crate::testing::store::sample::{SampleLog, end, ended_in, job, jobs};

/// How large the engine makes segments, about.
const SEGMENT: usize = 64 << 10;

pub async fn a_log_is_read_from_every_position(store: TestStore) {
    let (job, other) = (job(), job());
    store.take_all(&[job.clone(), other.clone()]).await;
    let (mut log, mut others) = (SampleLog::default(), SampleLog::default());
    for events in 1..=6 {
        let segments = (0..=events % 3).map(|_| log.segment(events, 40)).collect();
        store.append(job.id, segments).await.unwrap();
        store.append(other.id, vec![others.segment(2, 60)]).await.unwrap();
        log.assert_kept(&*store, job.id, 1).await;
    }
    others.assert_kept(&*store, other.id, 1).await;
    let store = store.reopen().await;
    log.assert_kept(&*store, job.id, 1).await;
    others.assert_kept(&*store, other.id, 1).await;
}

pub async fn a_log_without_events_is_empty(store: TestStore) {
    let job = job();
    store.take(&job).await;
    for position in [Position::START, Position::after(1), Position::after(u64::MAX)] {
        assert!(store.read(job.id, position).await.unwrap().is_none());
    }
    let mut log = SampleLog::default();
    store.append(job.id, vec![log.segment(1, 100)]).await.unwrap();
    assert!(store.read(job.id, Position::after(u64::MAX)).await.unwrap().is_none());
    log.assert_kept(&*store, job.id, 1).await;
}

pub async fn ids_may_skip_between_segments(store: TestStore) {
    let job = job();
    store.take(&job).await;
    let mut log = SampleLog::default();
    log.skip(4);
    for events in 1..=4 {
        store.append(job.id, vec![log.segment(events, 50)]).await.unwrap();
        log.skip(events);
    }
    log.assert_kept(&*store, job.id, 1).await;
    log.skip(1 << 40);
    store.append(job.id, vec![log.segment(2, 50)]).await.unwrap();
    log.assert_whole(&*store, job.id).await;
    let store = store.reopen().await;
    log.assert_whole(&*store, job.id).await;
    for event in [0, 4, 5, 6, 20, 1 << 30, 1 << 40, log.last_event() - 1, log.last_event()] {
        log.assert_after(&*store, job.id, Position::after(event)).await;
    }
}

pub async fn segments_that_are_appended_again_are_taken_once(store: TestStore) {
    for size in [50, SEGMENT] {
        let job = job();
        store.take(&job).await;
        let mut log = SampleLog::default();
        for _ in 0..4 {
            let segments = vec![log.segment(3, size), log.segment(1, size)];
            store.append(job.id, segments.clone()).await.unwrap();
            store.append(job.id, segments).await.unwrap();
            log.assert_kept(&*store, job.id, 1).await;
        }
    }
}

pub async fn a_segment_may_be_larger_than_others(store: TestStore) {
    let job = job();
    store.take(&job).await;
    let mut log = SampleLog::default();
    for size in [50, 3 << 20, 50, SEGMENT - 1, SEGMENT, SEGMENT + 1, 1 << 20, 50] {
        store.append(job.id, vec![log.segment(1, size)]).await.unwrap();
        log.assert_whole(&*store, job.id).await;
    }
    log.assert_kept(&*store, job.id, 1).await;
    let store = store.reopen().await;
    log.assert_kept(&*store, job.id, 1).await;
}

pub async fn a_long_log_is_read_from_anywhere(store: TestStore) {
    let jobs = jobs(2);
    store.take_all(&jobs).await;
    let mut logs = [SampleLog::default(), SampleLog::default()];
    for count in 0..40 {
        for (job, log) in jobs.iter().zip(&mut logs) {
            let segments = (0..=count % 3).map(|_| log.segment(64, SEGMENT / 64)).collect();
            store.append(job.id, segments).await.unwrap();
        }
    }
    let store = reopen(store, &jobs, &logs).await;
    // A log goes on where it was left, behind what the death has cut off.
    for (job, log) in jobs.iter().zip(&mut logs) {
        log.skip(1_000);
        for _ in 0..4 {
            store.append(job.id, vec![log.segment(64, SEGMENT / 64)]).await.unwrap();
        }
        log.assert_kept(&*store, job.id, 97).await;
    }
    for (job, log) in jobs.iter().zip(&mut logs) {
        let rest = vec![log.segment(3, 10_000), log.end()];
        store.end(&ended_in(job, JobState::Cancelled, log), rest).await.unwrap();
    }
    reopen(store, &jobs, &logs).await;
}

/// Reads the logs before and after a restart.
async fn reopen(store: TestStore, jobs: &[JobRecord], logs: &[SampleLog]) -> TestStore {
    for (job, log) in jobs.iter().zip(logs) {
        log.assert_kept(&*store, job.id, 97).await;
    }
    let store = store.reopen().await;
    store.claim_all(10).await;
    for (job, log) in jobs.iter().zip(logs) {
        log.assert_kept(&*store, job.id, 97).await;
    }
    store
}

pub async fn logs_of_many_jobs_grow_while_they_are_read(store: TestStore) {
    let mut tasks = JoinSet::new();
    for number in 0..40_usize {
        let (job, writes, reads) = (job(), store.share(), store.share());
        store.take(&job).await;
        let id = job.id;
        let (tell, mut told) = watch::channel(Position::START);
        tasks.spawn(async move {
            let mut log = SampleLog::default();
            for count in 0..20 {
                let size = [40, 500, 9_000, SEGMENT][(number + count) % 4];
                writes.append(id, vec![log.segment(3, size / 3)]).await.unwrap();
                tell.send_replace(log.position());
            }
            log.assert_whole(&*writes, id).await;
            end(&*writes, &job).await;
        });
        tasks.spawn(async move {
            let mut position = Position::START;
            while told.changed().await.is_ok() {
                let written = *told.borrow_and_update();
                while position.event < written.event {
                    let segment = reads.read(id, position).await.unwrap();
                    let segment = segment.expect("what was appended is there");
                    assert!(segment.first <= position.event + 1 && segment.last > position.event);
                    position = segment.end();
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}
