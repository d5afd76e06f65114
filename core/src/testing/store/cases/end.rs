//! The ends of jobs.

use tokio::task::{JoinSet, yield_now};

use crate::job::{JobRecord, JobState, StateName};
use crate::store::{JobQuery, Position};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{
    SampleLog, ended_in, ends, job, job_with_key, jobs, raw, text_of,
};

pub async fn an_end_takes_the_record_and_the_rest_of_the_log(store: TestStore) {
    let mut all = Vec::new();
    for (number, state) in ends().into_iter().enumerate() {
        let (job, mut log) = (job_with_key(&number.to_string()), SampleLog::default());
        store.take(&job).await;
        for _ in 0..number * 2 {
            store.append(job.id, vec![log.segment(5, 9_000)]).await.unwrap();
        }
        let mut rest: Vec<_> = (0..number).map(|_| log.segment(8, 8 << 10)).collect();
        rest.push(log.end());
        let ended = ended_in(&job, state, &log);
        store.end(&ended, rest).await.unwrap();
        store.assert_kept(&ended).await;
        log.assert_kept(&*store, job.id, 1).await;
        all.push((ended, log));
    }
    let store = store.reopen().await;
    for (ended, log) in &all {
        store.assert_kept(ended).await;
        log.assert_kept(&*store, ended.id, 1).await;
    }
}

pub async fn an_end_and_its_log_are_seen_together(store: TestStore) {
    let mut tasks = JoinSet::new();
    for job in jobs(100) {
        store.take(&job).await;
        let mut log = SampleLog::default();
        let rest = vec![log.segment(10, 1_000), log.end()];
        let ended = ended_in(&job, JobState::Cancelled, &log);
        let (writes, by_record, by_log) = (store.share(), store.share(), store.share());
        tasks.spawn(async move { writes.end(&ended, rest).await.unwrap() });
        let (id, last) = (job.id, log.last_event());
        tasks.spawn(async move {
            while !by_record.job(id).await.unwrap().unwrap().state.is_end() {
                yield_now().await;
            }
            let end = by_record.read(id, Position::after(last - 1)).await.unwrap();
            assert_eq!(end.expect("an ended job has its end").last, last);
        });
        tasks.spawn(async move {
            while by_log.read(id, Position::after(last - 1)).await.unwrap().is_none() {
                yield_now().await;
            }
            let job = by_log.job(id).await.unwrap().unwrap();
            assert!(job.state.is_end(), "the end is read of a job that is {}", job.state.as_str());
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

pub async fn an_end_that_is_told_again_changes_nothing(store: TestStore) {
    let job = job();
    store.take(&job).await;
    let mut log = SampleLog::default();
    store.append(job.id, vec![log.segment(3, 100)]).await.unwrap();
    let rest = vec![log.segment(3, 100), log.end()];
    let ended = ended_in(&job, JobState::Succeeded(raw("1")), &log);
    for _ in 0..3 {
        store.end(&ended, rest.clone()).await.unwrap();
        store.assert_kept(&ended).await;
        log.assert_kept(&*store, job.id, 1).await;
    }
    assert_eq!(store.ids(&JobQuery::newest(10)).await, [job.id]);
}

pub async fn segments_that_come_again_with_the_end_are_taken_once(store: TestStore) {
    for size in [50, 64 << 10] {
        let job = job();
        store.take(&job).await;
        let mut log = SampleLog::default();
        let (first, second) = (log.segment(3, size), log.segment(2, size));
        store.append(job.id, vec![first]).await.unwrap();
        // Done, but the engine was told that it failed: to it the segment is still missing.
        store.append(job.id, vec![second.clone()]).await.unwrap();
        let rest = vec![second, log.segment(1, size), log.end()];
        let ended = ended_in(&job, JobState::Cancelled, &log);
        store.end(&ended, rest).await.unwrap();
        log.assert_kept(&*store, job.id, 1).await;
    }
}

pub async fn of_two_ends_the_first_counts(store: TestStore) {
    let job = job();
    store.take(&job).await;
    let mut log = SampleLog::default();
    let rest = vec![log.segment(3, 100), log.end()];
    let first = ended_in(&job, JobState::Succeeded(raw("1")), &log);
    store.end(&first, rest).await.unwrap();

    let mut other = SampleLog::default();
    let rest = vec![other.segment(30, 100), other.end()];
    store.end(&ended_in(&job, JobState::Cancelled, &other), rest).await.unwrap();
    store.assert_kept(&first).await;
    log.assert_kept(&*store, job.id, 1).await;
}

pub async fn nothing_changes_after_the_end(store: TestStore) {
    let job = job_with_key("key");
    store.take(&job).await;
    let mut log = SampleLog::default();
    store.append(job.id, vec![log.segment(3, 100)]).await.unwrap();
    let rest = vec![log.end()];
    let ended = ended_in(&job, JobState::Succeeded(text_of(1_000)), &log);
    store.end(&ended, rest).await.unwrap();

    let running = JobRecord { state: JobState::Running, crashes: 1, ..job.clone() };
    store.update(&running).await.unwrap();
    store.cancel(job.id).await.unwrap();
    let late = SampleLog::default().segment(50, 100);
    store.append(job.id, vec![late]).await.unwrap();
    store.checkpoint(job.id, "place", &raw("1")).await.unwrap();

    store.assert_kept(&ended).await;
    log.assert_kept(&*store, job.id, 1).await;
    let store = store.reopen().await;
    store.assert_kept(&ended).await;
    log.assert_kept(&*store, job.id, 1).await;
    assert!(store.claim_all(10).await.is_empty());
    let running = JobQuery { states: vec![StateName::Running], ..JobQuery::newest(10) };
    assert!(store.ids(&running).await.is_empty());
}
