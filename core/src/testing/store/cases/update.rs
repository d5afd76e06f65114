//! Changes of jobs that haven't ended.

use std::time::Duration;

use crate::job::{JobRecord, JobState, Priority};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{SampleLog, job, moment};

pub async fn a_change_of_a_job_is_kept(store: TestStore) {
    let accepted = JobRecord { state: JobState::Scheduled, run_at: Some(moment(0)), ..job() };
    store.take(&accepted).await;
    let queued = JobRecord { state: JobState::Queued, run_at: None, ..accepted };
    let timeout = Some(Duration::from_millis(1_500));
    let first = JobRecord {
        state: JobState::Running,
        started_at: Some(moment(1)),
        last_event: 3,
        ..queued
    };
    let retried = JobRecord {
        state: JobState::Queued,
        attempt: 2,
        crashes: 1,
        run_at: Some(moment(60)),
        last_event: 1 << 40,
        ..first.clone()
    };
    let raised = JobRecord { priority: Priority::High, timeout, ..retried.clone() };
    let rerouted_to = Some("grind_elsewhere".into());
    let rerouted = JobRecord { state: JobState::Running, rerouted_to, ..raised.clone() };
    let without_time = JobRecord { run_at: None, rerouted_to: None, ..rerouted.clone() };
    for change in [first, retried, raised, rerouted, without_time.clone()] {
        store.update(&change).await.unwrap();
        store.assert_kept(&change).await;
        // A call that seemed to fail is made again.
        store.update(&change).await.unwrap();
        store.assert_kept(&change).await;
    }
    store.reopen().await.assert_kept(&without_time).await;
}

pub async fn a_change_of_a_job_leaves_its_log_and_the_other_jobs_alone(store: TestStore) {
    let (mut changed, other) = (job(), job());
    store.take_all(&[changed.clone(), other.clone()]).await;
    let mut log = SampleLog::default();
    store.append(changed.id, vec![log.segment(5, 100)]).await.unwrap();
    changed.state = JobState::Running;
    changed.last_event = 5;
    store.update(&changed).await.unwrap();
    log.assert_kept(&*store, changed.id, 1).await;
    store.assert_kept(&other).await;
    store.append(changed.id, vec![log.segment(5, 100)]).await.unwrap();
    store.assert_kept(&changed).await;
    log.assert_kept(&*store, changed.id, 1).await;
}

pub async fn a_cancellation_leaves_the_record_as_it_is(store: TestStore) {
    let mut job = job();
    store.take(&job).await;
    store.cancel(job.id).await.unwrap();
    store.cancel(job.id).await.unwrap();
    store.assert_kept(&job).await;
    job.state = JobState::Running;
    store.update(&job).await.unwrap();
    store.assert_kept(&job).await;
}
