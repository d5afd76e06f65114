//! What becomes of jobs whose server dies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use skep::job::{Event, EventKind, JobState, Start, StateName};
use skep::plugin::Linked;
use skep::problem::Code;
use skep::store::{Position, Store};
use skep::testing::{Fault, FaultyStore, StoreCall};
use skep::{Config, JobId, JobRequest, Router};

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, events, failure, router_on, within};

/// The numbers of the attempts that began, by a log.
fn attempts(events: &[Event]) -> Vec<u32> {
    let running = events.iter().filter_map(|event| match &event.kind {
        EventKind::State { state, attempt } if state == "running" => Some(*attempt),
        _ => None,
    });
    running.collect()
}

fn ids_grow(events: &[Event]) -> bool {
    events.is_sorted_by(|one, next| one.id < next.id)
}

/// Waits until the store has events of a job's log.
async fn stored(disk: &Disk, job: JobId) {
    within(async {
        while disk.0.read(job, Position::START).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_idempotent_job_runs_again_and_no_id_comes_twice() {
    let disk = Disk::new();
    let (job, seen) = disk
        .crash_after(async |router| {
            let job = create(&router, "hang_up_to", json!({ "attempt": 1, "key": "again" })).await;
            within(signal("again/hangs").reached(1)).await;
            let seen: Vec<_> = router.execute_job(job, 0).await.unwrap().take(2).collect().await;
            (job, seen.into_iter().map(|event| event.unwrap().id).collect::<Vec<_>>())
        })
        .await;
    assert_eq!(seen, [1, 2]);
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let record = router.job(job).await.unwrap();
    assert_eq!((record.attempt, record.crashes), (2, 1));
    let events = events(&router, job, 2).await;
    assert_eq!(attempts(&events), [2]);
    assert!(ids_grow(&events) && events[0].id > 2, "{events:?}");
}

#[tokio::test]
async fn what_a_reader_saw_and_the_store_has_stays_as_it_was() {
    let disk = Disk::new();
    let life = disk.clone();
    let (job, before) = disk
        .crash_after(async move |router| {
            let job = create(&router, "hang_up_to", json!({ "attempt": 1, "key": "same" })).await;
            within(signal("same/hangs").reached(1)).await;
            stored(&life, job).await;
            let before: Vec<_> = router.execute_job(job, 0).await.unwrap().take(2).collect().await;
            (job, before.into_iter().map(Result::unwrap).collect::<Vec<_>>())
        })
        .await;
    let router = disk.router().await;
    end(&router, job).await;
    let all = events(&router, job, 0).await;
    assert_eq!(all[..2], before);
    assert_eq!(attempts(&all), [1, 2]);
    assert!(ids_grow(&all));
    assert_eq!(events(&router, job, 0).await, all);
    assert_eq!(events(&router, job, 1).await, all[1..]);
}

#[tokio::test]
async fn a_job_that_may_not_run_twice_ends_as_interrupted_and_keeps_its_output() {
    let disk = Disk::new();
    let life = disk.clone();
    let job = disk
        .crash_after(async move |router| {
            let job = create(&router, "emit_and_hang", json!({ "key": "once" })).await;
            within(signal("once/hangs").reached(1)).await;
            stored(&life, job).await;
            job
        })
        .await;
    let router = disk.router().await;
    let problem = failure(&router, job).await;
    assert!(problem.is(Code::Interrupted), "{problem:?}");
    assert_eq!(router.job(job).await.unwrap().attempt, 1);
    let events = events(&router, job, 0).await;
    assert!(events.iter().any(|event| event.kind == EventKind::Output(json!("before"))));
    assert_eq!(attempts(&events), [1]);
    assert_eq!(signal("once/hangs").count(), 1);
}

#[tokio::test]
async fn a_job_that_had_not_begun_runs_whatever_its_operation_is() {
    let disk = Disk::new();
    let jobs = disk
        .crash_after(async |router| {
            let mut jobs = Vec::new();
            create(&router, "wait_alone", json!({ "key": "narrow" })).await;
            for _ in 0..3 {
                jobs.push(create(&router, "wait_alone", json!({ "key": "narrow" })).await);
            }
            within(signal("narrow/started").reached(1)).await;
            jobs
        })
        .await;
    let router = disk.router().await;
    signal("narrow/go").fire();
    for job in jobs {
        assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
        assert_eq!(router.job(job).await.unwrap().attempt, 1);
        // The first life told that it's queued, under an id that isn't used again. So did perhaps
        // another one, and this one says the same in the same place, though it needn't wait.
        let told: Vec<_> = events(&router, job, 0).await.into_iter().map(|e| e.kind).collect();
        let state = |state: &str| EventKind::State { state: state.to_owned(), attempt: 1 };
        assert_eq!(told[..2], [state("queued"), state("running")]);
    }
}

/// A job that waits for its reader, and what a second life told of it, of which the store knows nothing.
async fn told_in_vain(disk: &Disk, key: &'static str) -> (JobId, Event) {
    let job = disk
        .crash_after(async move |router| {
            let mut later = JobRequest::new("wait_alone", json!({ "key": key }));
            later.start = Start::OnStream;
            router.create_job(later).await.unwrap().id
        })
        .await;
    let told = disk
        .crash_after(async move |router| {
            create(&router, "wait_alone", json!({ "key": key })).await;
            let mut reader = router.execute_job(job, 0).await.unwrap();
            within(reader.next()).await.unwrap().unwrap()
        })
        .await;
    assert_eq!(told.kind, EventKind::State { state: "queued".to_owned(), attempt: 1 });
    (job, told)
}

/// Asserts that a job is cancelled, and that who saw what was told of it before gets its end.
async fn assert_cancelled_after(router: &Router, job: JobId, told: &Event) {
    assert!(matches!(end(router, job).await, JobState::Cancelled));
    let rest = events(router, job, told.id).await;
    assert!(matches!(&rest[..], [Event { kind: EventKind::End(_), .. }]), "{rest:?}");
    assert_eq!(events(router, job, 0).await, rest);
}

#[tokio::test]
async fn the_end_of_a_job_that_never_waits_again_has_an_id_that_no_earlier_life_told() {
    let disk = Disk::new();
    let (job, told) = told_in_vain(&disk, "withdrawn").await;
    let router = disk.router().await;
    router.cancel_job(job).await.unwrap();
    assert_cancelled_after(&router, job, &told).await;
}

#[tokio::test]
async fn so_has_the_end_of_one_that_was_cancelled_before_its_server_died() {
    let disk = Disk::new();
    let (job, told) = told_in_vain(&disk, "withdrawn-before").await;
    disk.0.reopen();
    disk.0.cancel(job).await.unwrap();
    let router = disk.router().await;
    assert_cancelled_after(&router, job, &told).await;
}

#[tokio::test]
async fn a_job_that_is_stopped_before_it_runs_tells_nothing_that_its_next_life_might_not() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            create(&router, "wait_alone", json!({ "key": "unstarted" })).await;
            create(&router, "wait_alone", json!({ "key": "unstarted" })).await
        })
        .await;
    // A life whose store takes nothing more: the job gets its turn, and never begins.
    disk.0.reopen();
    let store = FaultyStore::new(disk.0.clone(), |call| match call {
        StoreCall::Update => {
            signal("unstarted/begins").fire();
            Fault::Fails
        }
        StoreCall::Append => {
            signal("unstarted/postponed").fire();
            Fault::Fails
        }
        _ => Fault::None,
    });
    let router = router_on(Arc::new(store), Config::default()).await;
    within(signal("unstarted/begins").reached(1)).await;
    let seen = within(async {
        tokio::select! {
            () = router.shutdown(Duration::ZERO) => panic!("it waits for its store"),
            () = async { signal("unstarted/postponed").reached(1).await } => {}
        }
        let first = router.execute_job(job, 0).await.unwrap().next().await.unwrap().unwrap();
        let last = router.job(job).await.unwrap().last_event;
        let count = usize::try_from(last - first.id + 1).unwrap();
        let seen = router.execute_job(job, 0).await.unwrap().take(count);
        seen.try_collect::<Vec<_>>().await.unwrap()
    })
    .await;

    let router = disk.router().await;
    signal("unstarted/go").fire();
    end(&router, job).await;
    let all = events(&router, job, 0).await;
    assert_eq!(all[..seen.len()], seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_that_waited_keep_their_order() {
    let disk = Disk::new();
    let jobs = disk
        .crash_after(async |router| {
            create(&router, "wait_alone", json!({ "key": "order" })).await;
            let mut jobs = Vec::new();
            for _ in 0..200 {
                jobs.push(create(&router, "wait_alone", json!({ "key": "order" })).await);
            }
            jobs
        })
        .await;
    signal("order/go").fire();
    let router = disk.router().await;
    let mut started = Vec::new();
    for job in jobs {
        end(&router, job).await;
        started.push(router.job(job).await.unwrap().started_at.unwrap());
    }
    assert!(started.is_sorted(), "{started:?}");
}

#[tokio::test]
async fn a_job_under_suspicion_holds_no_place_while_it_waits_for_its_last_attempt() {
    let disk = Disk::new();
    let life = async |router: Router| {
        for _ in 0..2 {
            create(&router, "hang_up_to", json!({ "attempt": 99, "key": "suspects" })).await;
        }
        within(signal("suspects/hangs").reached(2)).await;
    };
    disk.crash_after(life).await;
    let change = |config: &mut Config| {
        config.jobs.max_attempts = 2;
        config.jobs.max_running = 2;
    };
    let router = disk.router_with(change).await;
    within(signal("suspects/hangs").reached(3)).await;
    within(router.call("echo", json!({ "value": 1 }))).await.unwrap();
    assert_eq!(signal("suspects/hangs").count(), 3);
}

#[tokio::test]
async fn a_job_that_crashes_its_server_is_given_up_and_those_beside_it_are_not() {
    let disk = Disk::new();
    let (poison, bystander) = disk
        .crash_after(async |router| {
            let poison = create(&router, "hang_up_to", json!({ "attempt": 99, "key": "poison" }));
            let poison = poison.await;
            let input = json!({ "attempt": 2, "key": "bystander" });
            let bystander = create(&router, "hang_up_to", input).await;
            within(signal("poison/hangs").reached(1)).await;
            within(signal("bystander/hangs").reached(1)).await;
            (poison, bystander)
        })
        .await;
    disk.crash_after(async |_| {
        within(signal("poison/hangs").reached(2)).await;
        within(signal("bystander/hangs").reached(2)).await;
    })
    .await;
    disk.crash_after(async |_| within(signal("poison/hangs").reached(3)).await).await;
    let router = disk.router().await;
    let problem = failure(&router, poison).await;
    assert!(problem.is(Code::Interrupted) && problem.detail.contains("given up"), "{problem:?}");
    assert_eq!(problem.extensions["crashes"], 3);
    assert!(matches!(end(&router, bystander).await, JobState::Succeeded(_)));
    assert_eq!(signal("poison/hangs").count(), 3);
}

#[tokio::test]
async fn a_cancellation_that_was_answered_outlives_the_server() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            let job =
                create(&router, "hang_up_to", json!({ "attempt": 1, "key": "cut-off" })).await;
            within(signal("cut-off/hangs").reached(1)).await;
            router.cancel_job(job).await.unwrap();
            job
        })
        .await;
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

#[tokio::test]
async fn a_job_that_belonged_to_a_request_is_not_run_again() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            let input = json!({ "attempt": 1, "key": "attached" });
            let mut request = JobRequest::new("hang_up_to", input);
            request.attached = true;
            let job = router.create_job(request).await.unwrap().id;
            within(signal("attached/hangs").reached(1)).await;
            job
        })
        .await;
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

#[tokio::test]
async fn a_caller_runs_again_and_calls_anew() {
    let disk = Disk::new();
    let (job, child) = disk
        .crash_after(async |router| {
            let input = json!({ "attempt": 1, "key": "called" });
            let job = create(&router, "call_again", input).await;
            within(signal("called/hangs").reached(1)).await;
            let mut query = skep::store::JobQuery::newest(1);
            query.parent = Some(job);
            (job, router.jobs(&query).await.unwrap()[0].id)
        })
        .await;
    let router = disk.router().await;
    assert!(failure(&router, child).await.is(Code::Interrupted));
    // The new child is on its first attempt, and would hang: its caller gives it another key.
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn a_job_whose_operation_is_not_served_waits_for_a_server_that_has_it() {
    let disk = Disk::new();
    let life = disk.clone();
    let job = disk
        .crash_after(async move |router| {
            let job = create(&router, "hang_up_to", json!({ "attempt": 1, "key": "left" })).await;
            within(signal("left/hangs").reached(1)).await;
            stored(&life, job).await;
            job
        })
        .await;
    let without = Router::start(Config::default(), Linked::default(), disk.0.clone());
    let without = without.await.unwrap();
    assert!(!without.job(job).await.unwrap().state.is_end());
    // What it put out before can be read.
    let told = events(&without, job, 0).await;
    assert!(told.iter().any(|event| event.kind == EventKind::Output(json!(1))), "{told:?}");
    drop(without);
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn a_graceful_restart_costs_an_idempotent_job_an_attempt_and_a_waiting_one_nothing() {
    let disk = Disk::new();
    let router = disk.router_with(|config| config.jobs.max_running = 2).await;
    let again = create(&router, "hang_up_to", json!({ "attempt": 1, "key": "graceful" })).await;
    let once = create(&router, "emit_and_hang", json!({ "key": "graceful-once" })).await;
    let queued = create(&router, "hello", json!({ "name": "Ada" })).await;
    let mut later = JobRequest::new("hello", json!({ "name": "Ada" }));
    later.start = Start::OnStream;
    let scheduled = router.create_job(later).await.unwrap().id;
    within(signal("graceful/hangs").reached(1)).await;
    within(signal("graceful-once/hangs").reached(1)).await;
    let mut reader = router.execute_job(again, 0).await.unwrap().into_frames();
    within(router.shutdown(Duration::ZERO)).await;
    assert!(failure(&router, once).await.is(Code::Interrupted));
    let mut log = Vec::new();
    while let Some(frames) = within(reader.next()).await.unwrap() {
        log.extend_from_slice(&frames);
    }
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("the server goes down") && !log.contains("event: end"), "{log}");

    let router = disk.router().await;
    assert!(matches!(end(&router, again).await, JobState::Succeeded(_)));
    let record = router.job(again).await.unwrap();
    assert_eq!((record.attempt, record.crashes), (2, 0));
    assert!(matches!(end(&router, queued).await, JobState::Succeeded(_)));
    assert_eq!(router.job(queued).await.unwrap().attempt, 1);
    assert_eq!(router.job(scheduled).await.unwrap().state.name(), StateName::Scheduled);
    events(&router, scheduled, 0).await;
    assert!(matches!(end(&router, scheduled).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_its_server_stops_does_not_go_on() {
    let disk = Disk::new();
    let router = disk.router().await;
    let job = create(&router, "outstay", json!({})).await;
    within(signal("outstay/begun").reached(1)).await;
    let cancel = async {
        signal("outstay/told").reached(1).await;
        router.cancel_job(job).await
    };
    let ((), cancelled) =
        within(async { tokio::join!(router.shutdown(Duration::ZERO), cancel) }).await;
    cancelled.expect("it's not too late");
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

mod operations {
    use skep::prelude::*;

    use crate::signal::signal;

    /// Fire `KEY/hangs` and hang, up to this attempt; a later one returns.
    #[skep::operation(idempotent)]
    pub(super) async fn hang_up_to(attempt: u32, key: String, job: &JobContext) -> Result<u32> {
        job.emit(&job.attempt()).await?;
        if job.attempt() <= attempt {
            signal(&format!("{key}/hangs")).fire();
            std::future::pending::<()>().await;
        }
        Ok(job.attempt())
    }

    /// Emit, fire `KEY/hangs` and hang.
    #[skep::operation]
    async fn emit_and_hang(key: String, job: &JobContext) -> Result<()> {
        job.emit("before").await?;
        signal(&format!("{key}/hangs")).fire();
        std::future::pending().await
    }

    /// Ignore that it's to stop.
    #[skep::operation(idempotent)]
    async fn outstay(job: &JobContext) -> Result<()> {
        signal("outstay/begun").fire();
        job.cancelled().await;
        signal("outstay/told").fire();
        std::future::pending().await
    }

    /// Fire `KEY/started` and wait for `KEY/go`.
    #[skep::operation(max_concurrency = 1)]
    async fn wait_alone(key: String) -> Result<()> {
        signal(&format!("{key}/started")).fire();
        signal(&format!("{key}/go")).reached(1).await;
        Ok(())
    }

    /// Call `hang_up_to`, which hangs if this is an attempt up to `attempt`.
    #[skep::operation(idempotent)]
    async fn call_again(attempt: u32, key: String, job: &JobContext) -> Result<u32> {
        let hangs = u32::from(job.attempt() <= attempt);
        job.call("hang_up_to", serde_json::json!({ "attempt": hangs, "key": key })).await
    }
}
