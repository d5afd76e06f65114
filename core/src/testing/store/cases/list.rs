//! Lists of jobs.

use crate::job::{Caller, JobId, JobRecord, JobState, Priority, StateName};
use crate::store::{JobQuery, Retention};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{SampleLog, end, ended_in, ends, job, jobs, moment};

pub async fn jobs_are_listed_newest_first(store: TestStore) {
    assert!(store.ids(&JobQuery::newest(10)).await.is_empty());
    let jobs = jobs(25);
    store.take_all(&jobs).await;
    let newest_first: Vec<_> = jobs.iter().rev().map(|job| job.id).collect();
    for limit in [0, 1, 10, 25, 26, usize::MAX] {
        let found = store.ids(&JobQuery::newest(limit)).await;
        assert_eq!(found, newest_first[..limit.min(25)]);
    }
    for (place, id) in newest_first.iter().enumerate() {
        let older = JobQuery { before: Some(*id), ..JobQuery::newest(100) };
        assert_eq!(store.ids(&older).await, newest_first[place + 1..]);
    }
    let store = store.reopen().await;
    assert_eq!(store.ids(&JobQuery::newest(100)).await, newest_first);
}

/// Jobs in every state, of two operations, some of them called by others; the oldest first.
async fn in_every_state(store: &TestStore) -> Vec<JobRecord> {
    let parents = [JobId::new(), JobId::new()];
    let mut jobs = Vec::new();
    for number in 0..60 {
        let mut job = JobRecord { operation: ["echo", "echo_2"][number % 2].into(), ..job() };
        job.caller = match number % 5 {
            0 => Caller::Client(None),
            1 | 2 => Caller::Job(parents[0]),
            3 => Caller::Job(parents[1]),
            _ => Caller::Server,
        };
        store.take(&job).await;
        jobs.push(job);
    }
    for (number, job) in jobs.iter_mut().enumerate() {
        match number % 9 {
            0 => {
                job.state = JobState::Scheduled;
                job.run_at = Some(moment(0));
                store.update(job).await.unwrap();
            }
            1 => {}
            2 => {
                job.state = JobState::Running;
                job.priority = Priority::High;
                store.update(job).await.unwrap();
            }
            other => {
                let mut log = SampleLog::default();
                let rest = vec![log.segment(3, 50), log.end()];
                *job = ended_in(job, ends()[other - 3].clone(), &log);
                store.end(job, rest).await.unwrap();
            }
        }
    }
    jobs
}

pub async fn each_filter_lets_through_what_it_says(store: TestStore) {
    let jobs = in_every_state(&store).await;
    let mut states: Vec<_> = StateName::ALL.iter().map(|state| vec![*state]).collect();
    states.push(Vec::new());
    states.push(vec![StateName::Cancelled, StateName::Queued, StateName::Running]);
    let operations = [None, Some("echo"), Some("echo_2"), Some("ech"), Some("Echo")];
    let parents = [None, jobs[1].parent(), jobs[3].parent(), Some(jobs[0].id)];
    let bounds = [None, Some(jobs[0].id), Some(jobs[30].id), Some(JobId::new())];
    for states in states {
        for operation in operations {
            for parent in parents {
                for before in bounds {
                    let operation = operation.map(str::to_owned);
                    let states = states.clone();
                    let query = JobQuery { states, operation, parent, before, limit: 4 };
                    assert_found(&store, &query, &jobs).await;
                    assert_found(&store, &JobQuery { limit: 100, ..query }, &jobs).await;
                }
            }
        }
    }
}

async fn assert_found(store: &TestStore, query: &JobQuery, jobs: &[JobRecord]) {
    let older = |job: &&JobRecord| query.before.is_none_or(|before| job.id < before);
    let matching = jobs.iter().rev().filter(older).filter(|job| query.matches(job));
    let expected: Vec<_> = matching.take(query.limit).map(|job| job.id).collect();
    assert_eq!(store.ids(query).await, expected, "{query:?}");
}

pub async fn a_summary_is_the_record_without_what_may_be_large(store: TestStore) {
    let mut jobs = in_every_state(&store).await;
    jobs.reverse();
    let expected: Vec<_> = jobs.iter().map(JobRecord::summary).collect();
    assert_eq!(store.list(&JobQuery::newest(100)).await.unwrap(), expected);
    let store = store.reopen().await;
    assert_eq!(store.list(&JobQuery::newest(100)).await.unwrap(), expected);
}

pub async fn pages_stay_in_step_while_jobs_come_and_go(store: TestStore) {
    let jobs = jobs(40);
    store.take_all(&jobs).await;
    let mut seen = Vec::new();
    let mut query = JobQuery::newest(3);
    for oldest in 0.. {
        let page = store.ids(&query).await;
        let Some(last) = page.last() else { break };
        query.before = Some(*last);
        seen.extend(page);
        // One comes, and the oldest goes; and so does, in the end, the one that the cursor names.
        store.take(&job()).await;
        end(&*store, &jobs[oldest]).await;
        if oldest == 5 {
            let at_cursor = jobs.iter().find(|job| Some(job.id) == query.before).unwrap();
            end(&*store, at_cursor).await;
        }
        store.sweep_all(&Retention { max_jobs: 0, ..Retention::ALL }).await;
    }
    // Each page takes three of the newest, and one of the oldest goes: ten pages.
    let expected: Vec<_> = jobs[10..].iter().rev().map(|job| job.id).collect();
    assert_eq!(seen, expected);
}
