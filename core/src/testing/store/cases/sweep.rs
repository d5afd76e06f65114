//! What is forgotten, and what stays.

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::job::{JobId, JobRecord, JobState};
use crate::store::{JobQuery, Position, Retention, StoreError, Sweep};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{
    SampleLog, end, end_at, ended_in, job, job_with_key, jobs, moment, raw, text_of,
};

/// No ended job is to be kept.
const NOTHING: Retention = Retention { max_jobs: 0, ..Retention::ALL };

/// The ids of the jobs that are left, the oldest first.
async fn left(store: &TestStore) -> Vec<JobId> {
    let mut ids = store.ids(&JobQuery::newest(10_000)).await;
    ids.reverse();
    ids
}

fn ids(jobs: &[JobRecord]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

pub async fn nothing_is_forgotten_that_fits_every_limit(store: TestStore) {
    store.sweep_all(&NOTHING).await;
    let jobs = jobs(10);
    store.take_all(&jobs).await;
    for job in &jobs[..5] {
        end_at(&*store, job, Timestamp::UNIX_EPOCH).await;
    }
    store.sweep_all(&Retention::ALL).await;
    let fits = Retention { ended_since: Timestamp::UNIX_EPOCH, max_jobs: 5, max_bytes: 1 << 20 };
    store.sweep_all(&fits).await;
    assert_eq!(left(&store).await, ids(&jobs));
}

pub async fn jobs_that_ended_long_ago_are_forgotten(store: TestStore) {
    let jobs = jobs(10);
    store.take_all(&jobs).await;
    for (job, second) in jobs.iter().zip(0..) {
        end_at(&*store, job, moment(second)).await;
    }
    let keep = Retention { ended_since: moment(6), ..Retention::ALL };
    store.sweep_all(&keep).await;
    assert_eq!(left(&store).await, ids(&jobs[6..]));
    let store = store.reopen().await;
    assert_eq!(left(&store).await, ids(&jobs[6..]));
}

pub async fn the_jobs_that_ended_first_are_forgotten_first(store: TestStore) {
    let jobs = jobs(10);
    store.take_all(&jobs).await;
    let order = [7, 2, 9, 0, 4, 1, 8, 3];
    for (place, second) in order.into_iter().zip(0..) {
        end_at(&*store, &jobs[place], moment(second)).await;
    }
    for kept in (0..=8).rev() {
        store.sweep_all(&Retention { max_jobs: kept, ..Retention::ALL }).await;
        let mut expected: Vec<_> =
            order.iter().rev().take(usize::try_from(kept).unwrap()).copied().collect();
        expected.extend([5, 6]);
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(|place| jobs[place].id).collect();
        assert_eq!(left(&store).await, expected, "{kept} ended jobs are to be kept");
    }
}

/// Jobs that take 100 kB each: by their inputs, their results, their logs in one piece and in many.
async fn jobs_of_100_kb(store: &TestStore) -> Vec<JobRecord> {
    let mut jobs = Vec::new();
    for (number, second) in (0..12).zip(0..) {
        let (mut log, mut state) = (SampleLog::default(), JobState::Cancelled);
        let mut job = job();
        let mut segments = vec![log.segment(1, 50)];
        match number % 4 {
            0 => segments.push(log.segment(1, 100_000)),
            1 => segments.extend((0..10).map(|_| log.segment(100, 100))),
            2 => job.input = text_of(100_000),
            _ => state = JobState::Succeeded(text_of(100_000)),
        }
        store.take(&job).await;
        store.append(job.id, segments).await.unwrap();
        let rest = vec![log.end()];
        let ended = JobRecord { ended_at: Some(moment(second)), ..ended_in(&job, state, &log) };
        store.end(&ended, rest).await.unwrap();
        jobs.push(ended);
    }
    jobs
}

pub async fn jobs_are_forgotten_until_the_rest_fits_its_space(store: TestStore) {
    let jobs = jobs_of_100_kb(&store).await;
    for fits in (0..=12).rev() {
        // Half a job's room is for what a store has to write beside them.
        let max_bytes = fits as u64 * 100_000 + 50_000;
        store.sweep_all(&Retention { max_bytes, ..Retention::ALL }).await;
        assert_eq!(left(&store).await, ids(&jobs[12 - fits..]), "{max_bytes} bytes");
    }
}

pub async fn what_is_told_again_takes_no_more_space(store: TestStore) {
    let job = JobRecord { input: text_of(100_000), ..job() };
    let mut log = SampleLog::default();
    let segments = vec![log.segment(2, 50_000)];
    let rest = vec![log.segment(2, 50_000), log.end()];
    let ended = ended_in(&job, JobState::Succeeded(text_of(100_000)), &log);
    for _ in 0..3 {
        store.take(&job).await;
    }
    for _ in 0..3 {
        store.append(job.id, segments.clone()).await.unwrap();
    }
    for _ in 0..3 {
        store.checkpoint(job.id, "place", &text_of(100_000)).await.unwrap();
    }
    for _ in 0..3 {
        store.end(&ended, rest.clone()).await.unwrap();
    }
    store.sweep_all(&Retention { max_bytes: 450_000, ..Retention::ALL }).await;
    assert_eq!(left(&store).await, [job.id]);
}

pub async fn jobs_that_have_not_ended_take_space_and_stay(store: TestStore) {
    let running = JobRecord { input: text_of(200_000), ..job_with_key("running") };
    store.take(&running).await;
    let mut log = SampleLog::default();
    for _ in 0..4 {
        store.append(running.id, vec![log.segment(10, 5_000)]).await.unwrap();
    }
    store.checkpoint(running.id, "place", &raw("1")).await.unwrap();
    let jobs = jobs_of_100_kb(&store).await;
    let keep = Retention { max_bytes: 650_000, ..Retention::ALL };
    store.sweep_all(&keep).await;
    assert_eq!(left(&store).await, [&[running.id], &*ids(&jobs[10..])].concat());

    let keep = Retention { ended_since: Timestamp::MAX, max_jobs: 0, max_bytes: 0 };
    store.sweep_all(&keep).await;
    assert_eq!(left(&store).await, [running.id]);
    store.assert_kept(&running).await;
    log.assert_kept(&*store, running.id, 7).await;
    assert_eq!(store.keyed("running").await.unwrap(), Some(running.id));
    assert!(store.checkpointed(running.id, "place").await.unwrap().is_some());
    let store = store.reopen().await;
    store.sweep_all(&keep).await;
    assert_eq!(store.claim_all(10).await.len(), 1);
}

pub async fn a_forgotten_job_leaves_nothing(store: TestStore) {
    let mut logs = Vec::new();
    for size in [50, 1_000, 64 << 10] {
        for _ in 0..2 {
            let (job, mut log) = (job(), SampleLog::default());
            store.take(&job).await;
            for _ in 0..20 {
                store.append(job.id, vec![log.segment(4, size / 4)]).await.unwrap();
            }
            store.checkpoint(job.id, "place", &raw("1")).await.unwrap();
            logs.push((job, log));
        }
    }
    for (job, log) in logs.iter_mut().step_by(2) {
        let rest = vec![log.end()];
        store.end(&ended_in(job, JobState::Cancelled, log), rest).await.unwrap();
    }
    store.sweep_all(&NOTHING).await;
    assert_forgotten(&store, &logs).await;
    assert_forgotten(&store.reopen().await, &logs).await;
}

/// Every other job is forgotten, and the others are whole.
async fn assert_forgotten(store: &TestStore, jobs: &[(JobRecord, SampleLog)]) {
    for (job, log) in jobs.iter().step_by(2) {
        assert!(store.job(job.id).await.unwrap().is_none());
        for event in [0, 1, log.last_event() - 1] {
            assert!(store.read(job.id, Position::after(event)).await.unwrap().is_none());
        }
        assert!(store.read(job.id, log.position()).await.unwrap().is_none());
        let checkpoint = store.checkpointed(job.id, "place").await;
        assert!(matches!(checkpoint, Err(StoreError::Forgotten(id)) if id == job.id));
    }
    for (job, log) in jobs.iter().skip(1).step_by(2) {
        store.assert_kept(job).await;
        log.assert_kept(&**store, job.id, 1).await;
    }
}

pub async fn many_jobs_are_forgotten_in_steps(store: TestStore) {
    let jobs = jobs(1_500);
    join_all(jobs.iter().map(async |job| {
        store.take(job).await;
        end(&*store, job).await;
    }))
    .await;
    let steps = store.sweep_all(&Retention { max_jobs: 7, ..Retention::ALL }).await;
    assert!(steps > 1, "all are forgotten in one step");
    assert_eq!(left(&store).await.len(), 7);
    store.sweep_all(&NOTHING).await;
    assert_eq!(left(&store).await, []);
    assert_eq!(store.sweep(&NOTHING).await.unwrap(), Sweep::Done);
}

pub async fn jobs_run_on_while_others_are_forgotten(store: TestStore) {
    let running = job();
    store.take(&running).await;
    let mut log = SampleLog::default();
    let sweeper = store.share();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let sweeping = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            sweeper.sweep(&NOTHING).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..100 {
        store.append(running.id, vec![log.segment(5, 2_000)]).await.unwrap();
        let short = job();
        store.take(&short).await;
        end(&*store, &short).await;
    }
    stop.send(()).unwrap();
    sweeping.await.unwrap();
    store.sweep_all(&NOTHING).await;
    assert_eq!(left(&store).await, [running.id]);
    log.assert_kept(&*store, running.id, 41).await;
}
