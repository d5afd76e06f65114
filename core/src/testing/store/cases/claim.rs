//! Jobs that a process left behind when it died.

use futures_util::future::join_all;

use crate::clock;
use crate::job::{JobId, JobRecord, JobState};
use crate::store::Claimed;
use crate::testing::store::sample::{SampleLog, assorted, end, job, jobs};
use crate::testing::store::{TestStore, assert_same, claim_all};

fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|claimed| claimed.record.id).collect()
}

pub async fn jobs_of_the_same_process_are_not_claimed(store: TestStore) {
    assert!(store.claim_all(10).await.is_empty());
    let jobs = jobs(3);
    store.take_all(&jobs).await;
    store.update(&JobRecord { state: JobState::Running, ..jobs[1].clone() }).await.unwrap();
    assert!(store.claim_all(10).await.is_empty());

    let store = store.reopen().await;
    let new = job();
    store.take(&new).await;
    assert_eq!(store.claim_all(10).await.len(), 3, "the new job belongs to this process");
}

pub async fn each_job_is_claimed_once_the_oldest_first(store: TestStore) {
    let mut jobs = assorted();
    // Their age is the order of their ids, and of their creation.
    for job in &mut jobs {
        job.created_at = clock::now();
    }
    store.take_all(&jobs).await;
    let store = store.reopen().await;
    let claimed = store.claim_all(3).await;
    assert_eq!(ids(&claimed), jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    for (claimed, job) in claimed.iter().zip(&jobs) {
        assert_same(&claimed.record, job);
    }
    assert!(store.claim_all(usize::MAX).await.is_empty());
    assert_eq!(store.reopen().await.claim_all(usize::MAX).await.len(), jobs.len());
}

pub async fn a_job_that_two_claim_at_once_is_given_to_one(store: TestStore) {
    let jobs = jobs(60);
    store.take_all(&jobs).await;
    let store = store.reopen().await;
    let tasks = [1, 7].map(|limit| {
        let store = store.share();
        tokio::spawn(async move { claim_all(&*store, limit).await })
    });
    let claimed = join_all(tasks).await.into_iter().flat_map(Result::unwrap);
    let mut claimed: Vec<_> = claimed.map(|claimed| claimed.record.id).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
}

pub async fn a_claimed_job_comes_with_the_end_of_its_log(store: TestStore) {
    let jobs = jobs(4);
    store.take_all(&jobs).await;
    let mut logs: Vec<SampleLog> = jobs.iter().map(|_| SampleLog::default()).collect();
    for (log, (job, segments)) in logs.iter_mut().zip(jobs.iter().zip([0, 1, 2, 40])) {
        for _ in 0..segments {
            store.append(job.id, vec![log.segment(64, 1 << 10)]).await.unwrap();
            log.skip(segments);
        }
    }
    let store = store.reopen().await;
    let claimed = store.claim_all(10).await;
    for ((claimed, log), job) in claimed.iter().zip(&mut logs).zip(&jobs) {
        assert_eq!(claimed.log, log.position());
        log.skip(100);
        store.append(job.id, vec![log.segment(2, 100)]).await.unwrap();
        log.assert_kept(&*store, job.id, 37).await;
    }
    assert_eq!(claimed.len(), 4);
}

pub async fn a_claimed_job_says_whether_it_is_to_be_cancelled(store: TestStore) {
    let jobs = jobs(4);
    store.take_all(&jobs).await;
    store.cancel(jobs[1].id).await.unwrap();
    store.cancel(jobs[3].id).await.unwrap();
    store.update(&JobRecord { state: JobState::Running, ..jobs[3].clone() }).await.unwrap();
    let store = store.reopen().await;
    assert_eq!(cancelled(&store).await, [false, true, false, true]);
    // A claim isn't the end: who died again still has to cancel them.
    let store = store.reopen().await;
    assert_eq!(cancelled(&store).await, [false, true, false, true]);
}

async fn cancelled(store: &TestStore) -> Vec<bool> {
    store.claim_all(10).await.iter().map(|claimed| claimed.is_cancelled).collect()
}

pub async fn a_claimed_job_is_claimed_again_after_another_death(store: TestStore) {
    let mut job = job();
    store.take(&job).await;
    let mut store = store;
    for crashes in 1..=3 {
        store = store.reopen().await;
        let claimed = store.claim_all(10).await;
        assert_eq!(claimed.len(), 1);
        assert_same(&claimed[0].record, &job);
        job = JobRecord { state: JobState::Running, crashes, attempt: crashes + 1, ..job };
        store.update(&job).await.unwrap();
    }
}

pub async fn ended_jobs_are_not_claimed(store: TestStore) {
    let jobs = jobs(5);
    store.take_all(&jobs).await;
    end(&*store, &jobs[0]).await;
    end(&*store, &jobs[3]).await;
    let store = store.reopen().await;
    let claimed = store.claim_all(2).await;
    assert_eq!(ids(&claimed), [jobs[1].id, jobs[2].id, jobs[4].id]);
    end(&*store, &jobs[1]).await;
    let store = store.reopen().await;
    assert_eq!(ids(&store.claim_all(2).await), [jobs[2].id, jobs[4].id]);
}
