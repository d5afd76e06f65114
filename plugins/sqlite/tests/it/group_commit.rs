//! What comes together is one commit.

use futures_util::future::join_all;
use skep::store::{Accepted, Store, StoreError};
use tempfile::tempdir;

use crate::sample::{Log, job, open};

#[tokio::test]
async fn a_single_accept_is_one_commit() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    for count in 1..=10 {
        store.accept(&job()).await.unwrap();
        assert_eq!((store.stats().calls, store.stats().commits), (count, count));
    }
}

#[tokio::test]
async fn a_thousand_jobs_at_once_cost_a_few_commits() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let jobs: Vec<_> = (0..1_000).map(|_| job()).collect();
    let answers = join_all(jobs.iter().map(|job| store.accept(job))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Accepted::New));
    // The writer takes the first while the others come; those then wait for it.
    assert!(store.stats().commits <= 20, "{:?}", store.stats());
    assert_eq!(store.stats().calls, 1_000);
    drop(store);
    assert_eq!(open(dir.path()).claim(2_000).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn what_changes_nothing_is_no_commit() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let kept = job();
    store.accept(&kept).await.unwrap();
    let before = store.stats().commits;
    store.accept(&kept).await.unwrap();
    assert!(store.cancel(job().id).await.is_err());
    assert_eq!(store.stats().commits, before);
}

#[tokio::test]
async fn a_call_that_is_refused_fails_alone() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (jobs, mut logs): (Vec<_>, Vec<_>) = (0..100).map(|_| (job(), Log::default())).unzip();
    join_all(jobs.iter().step_by(2).map(|job| store.accept(job))).await;
    let segments: Vec<_> = logs.iter_mut().map(|log| log.segment(100)).collect();
    let appended = jobs.iter().zip(segments).map(|(job, new)| store.append(job.id, vec![new]));
    for (number, answer) in join_all(appended).await.into_iter().enumerate() {
        match answer {
            Ok(()) => assert_eq!(number % 2, 0),
            Err(StoreError::Forgotten(id)) => assert_eq!((number % 2, id), (1, jobs[number].id)),
            Err(error) => panic!("{error}"),
        }
    }
    for (job, log) in jobs.iter().zip(&logs).step_by(2) {
        log.assert_kept(&store, job.id).await;
    }
}

#[tokio::test]
async fn a_log_file_that_cannot_be_written_fails_its_own_job_alone() {
    let dir = tempdir().unwrap();
    let (jobs, mut logs): (Vec<_>, Vec<_>) = (0..50).map(|_| (job(), Log::default())).unzip();
    let store = open(dir.path());
    for (job, log) in jobs.iter().zip(&mut logs) {
        store.accept(job).await.unwrap();
        store.append(job.id, vec![log.segment(100_000)]).await.unwrap();
    }
    drop(store);
    let path = crate::sample::log_file(dir.path(), jobs[20].id);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let store = open(dir.path());
    let segments: Vec<_> = logs.iter_mut().map(|log| log.segment(100)).collect();
    let appended = jobs.iter().zip(segments).map(|(job, new)| store.append(job.id, vec![new]));
    for (number, answer) in join_all(appended).await.into_iter().enumerate() {
        assert_eq!(answer.is_err(), number == 20, "{answer:?}");
    }
    for (job, log) in jobs.iter().zip(&logs).filter(|(job, _)| job.id != jobs[20].id) {
        log.assert_kept(&store, job.id).await;
    }
}
