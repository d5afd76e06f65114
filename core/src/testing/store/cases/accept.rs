//! Accepting jobs, and their idempotency keys.

use futures_util::future::join_all;
use jiff::SignedDuration;

use crate::clock;
use crate::job::{JobRecord, JobState};
use crate::store::{Accepted, IDEMPOTENCY_KEY_TTL, JobQuery, Position, Retention, StoreError};
use crate::testing::store::TestStore;
use crate::testing::store::sample::{SampleLog, assorted, end, ended_in, job, job_with_key, raw};

pub async fn a_job_comes_back_as_it_was_accepted(store: TestStore) {
    let jobs = assorted();
    store.take_all(&jobs).await;
    for job in &jobs {
        store.assert_kept(job).await;
    }
    let store = store.reopen().await;
    for job in &jobs {
        store.assert_kept(job).await;
    }
}

pub async fn a_job_that_was_never_accepted_is_unknown(store: TestStore) {
    store.take(&job()).await;
    let unknown = job().id;
    assert!(store.job(unknown).await.unwrap().is_none());
    assert!(store.read(unknown, Position::START).await.unwrap().is_none());
    assert_eq!(store.keyed("a key").await.unwrap(), None);
    assert!(!store.ids(&JobQuery::newest(10)).await.contains(&unknown));
}

pub async fn a_job_that_is_accepted_again_is_kept_once(store: TestStore) {
    for job in [job(), job_with_key("again")] {
        store.take(&job).await;
        store.take(&job).await;
        store.assert_kept(&job).await;
    }
    assert_eq!(store.ids(&JobQuery::newest(10)).await.len(), 2);
    let store = store.reopen().await;
    assert_eq!(store.claim_all(10).await.len(), 2);
}

pub async fn a_second_job_with_a_key_is_told_the_first(store: TestStore) {
    let first = job_with_key("key");
    store.take(&first).await;
    assert_second_is_told(&store, &first).await;
    let running = JobRecord { state: JobState::Running, ..first.clone() };
    store.update(&running).await.unwrap();
    assert_second_is_told(&store, &first).await;
    let store = store.reopen().await;
    assert_second_is_told(&store, &first).await;
    end(&*store, &first).await;
    assert_second_is_told(&store, &first).await;
    let store = store.reopen().await;
    assert_second_is_told(&store, &first).await;
}

async fn assert_second_is_told(store: &TestStore, first: &JobRecord) {
    let second = JobRecord { input: raw("2"), ..job_with_key("key") };
    assert_eq!(store.accept(&second).await.unwrap(), Accepted::Existing(first.id));
    assert_eq!(store.keyed("key").await.unwrap(), Some(first.id));
    assert!(store.job(second.id).await.unwrap().is_none(), "the second job is kept");
    assert_eq!(store.ids(&JobQuery::newest(10)).await, [first.id]);
}

pub async fn of_many_jobs_with_one_key_at_once_one_is_taken(store: TestStore) {
    for round in 0..10 {
        let key = format!("round {round}");
        let tasks = (0..20).map(|_| {
            let (store, job) = (store.share(), job_with_key(&key));
            tokio::spawn(async move { (job.id, store.accept(&job).await.unwrap()) })
        });
        let answers: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        let is_new = |(_, accepted): &&(_, _)| *accepted == Accepted::New;
        let new: Vec<_> = answers.iter().filter(is_new).map(|(id, _)| *id).collect();
        assert_eq!(new.len(), 1, "{answers:?}");
        let told = answers.iter().filter(|(_, accepted)| *accepted == Accepted::Existing(new[0]));
        assert_eq!(told.count(), 19, "{answers:?}");
        assert_eq!(store.keyed(&key).await.unwrap(), Some(new[0]));
    }
    assert_eq!(store.ids(&JobQuery::newest(100)).await.len(), 10);
}

pub async fn jobs_with_different_keys_do_not_meet(store: TestStore) {
    let keys = ["a", "A", "a ", "aa", "ä", "a\u{308}", "*", "%", "a.b", "a/b", "a:b"];
    let jobs: Vec<_> = keys.iter().map(|key| job_with_key(key)).collect();
    store.take_all(&jobs).await;
    store.take_all(&[job(), job()]).await;
    for (key, job) in keys.iter().zip(&jobs) {
        assert_eq!(store.keyed(key).await.unwrap(), Some(job.id), "key `{key}`");
    }
    assert_eq!(store.keyed("b").await.unwrap(), None);
}

pub async fn a_key_counts_for_its_time_and_no_longer(store: TestStore) {
    let ttl = SignedDuration::try_from(IDEMPOTENCY_KEY_TTL).unwrap();
    let minute = SignedDuration::from_mins(1);
    let accepted_at = |age| JobRecord { created_at: clock::now() - age, ..job_with_key("key") };

    let old = accepted_at(ttl + minute);
    store.take(&old).await;
    assert_eq!(store.keyed("key").await.unwrap(), None);
    let late = accepted_at(ttl - minute);
    store.take(&late).await;
    assert_eq!(store.keyed("key").await.unwrap(), Some(late.id));
    let new = accepted_at(SignedDuration::ZERO);
    assert_eq!(store.accept(&new).await.unwrap(), Accepted::Existing(late.id));

    // The job that lost its key doesn't take it along.
    end(&*store, &old).await;
    store.sweep_all(&Retention { max_jobs: 0, ..Retention::ALL }).await;
    assert!(store.job(old.id).await.unwrap().is_none());
    assert_eq!(store.keyed("key").await.unwrap(), Some(late.id));
}

pub async fn a_key_leads_to_its_own_job_or_to_none_once_that_is_forgotten(store: TestStore) {
    let first = job_with_key("key");
    store.take(&first).await;
    end(&*store, &first).await;
    store.sweep_all(&Retention { max_jobs: 0, ..Retention::ALL }).await;
    assert!(store.job(first.id).await.unwrap().is_none());

    let second = job_with_key("key");
    if let Some(id) = store.keyed("key").await.unwrap() {
        assert_eq!(id, first.id);
        assert_eq!(store.accept(&second).await.unwrap(), Accepted::Existing(first.id));
    } else {
        store.take(&second).await;
        assert_eq!(store.keyed("key").await.unwrap(), Some(second.id));
    }
}

pub async fn what_comes_for_a_job_that_was_never_accepted_is_refused(store: TestStore) {
    let (job, mut log) = (job(), SampleLog::default());
    let segment = log.segment(3, 100);
    assert!(matches!(store.update(&job).await, Err(StoreError::Forgotten(_))));
    assert!(matches!(
        store.append(job.id, vec![segment.clone()]).await,
        Err(StoreError::Forgotten(_))
    ));
    assert!(matches!(
        store.checkpoint(job.id, "a", &raw("1")).await,
        Err(StoreError::Forgotten(_))
    ));
    let ended = ended_in(&job, JobState::Cancelled, &log);
    assert!(matches!(store.end(&ended, vec![segment]).await, Err(StoreError::Forgotten(_))));
    assert!(matches!(store.cancel(job.id).await, Err(StoreError::Forgotten(_))));

    let store = store.reopen().await;
    assert!(store.job(job.id).await.unwrap().is_none());
    assert!(store.read(job.id, Position::START).await.unwrap().is_none());
    let checkpoint = store.checkpointed(job.id, "a").await;
    assert!(matches!(checkpoint, Err(StoreError::Forgotten(id)) if id == job.id));
    assert!(store.ids(&JobQuery::newest(10)).await.is_empty());
    assert!(store.claim_all(10).await.is_empty());
}
