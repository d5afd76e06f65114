//! The router alone, without a server.

use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::json;
use skep::job::{End, Event, EventKind, JobState, Start, StateName};
use skep::problem::Code;
use skep::store::JobQuery;
use skep::{JobId, JobRequest};

use crate::signal::signal;
use crate::support::{create, end, router, router_that_accepts_later, router_with, within};

#[tokio::test]
async fn a_job_is_made_and_its_events_are_a_stream() {
    let router = router().await;
    let job = router.create_job(JobRequest::new("hello", json!({ "name": "Ada" }))).await.unwrap();
    let events: Vec<Event> =
        router.execute_job(job.id, 0).await.unwrap().try_collect().await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            EventKind::State { state: "running".into(), attempt: 1 },
            EventKind::Output(json!("Hello,")),
            EventKind::Output(json!("Ada")),
            EventKind::End(End::Succeeded { result: json!("Hello, Ada!") }),
        ]
    );
    assert!(events.iter().map(|event| event.id).eq(1..=4));
}

#[tokio::test]
async fn a_look_leaves_no_job_behind() {
    let router = router().await;
    assert_eq!(router.peek("echo", json!({ "value": 1, "count": 3 })).await.unwrap(), 3);
    assert!(router.jobs(&JobQuery::newest(10)).await.unwrap().is_empty());
    let refused = async |operation, input| router.peek(operation, input).await.unwrap_err();
    assert!(refused("hello", json!({ "name": "Ada" })).await.is(Code::Forbidden));
    assert!(refused("ehco", json!({})).await.is(Code::UnknownOperation));
    assert!(refused("echo", json!({})).await.is(Code::InvalidInput));
}

#[tokio::test]
async fn a_call_returns_the_result() {
    let result = router().await.call("hello", json!({ "name": "Ada" })).await.unwrap();
    assert_eq!(result, "Hello, Ada!");
}

#[tokio::test]
async fn a_job_that_fails_is_its_callers_problem() {
    let problem = router().await.call("fail_with_code", json!({})).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("sold-out", 409));
    assert_eq!(problem.extensions["seats"], 72);
    assert_eq!(problem.detail, "only 72 seats are left");
}

#[tokio::test(start_paused = true)]
async fn a_wait_returns_at_the_jobs_end_or_when_its_patience_is_over() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "wait" })).await;
    let early = router.wait(job, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(early.state, JobState::Running));
    assert!(early.started_at.is_some() && early.ended_at.is_none());
    signal("wait/go").fire();
    let ended = router.wait(job, Duration::MAX).await.unwrap();
    assert!(matches!(ended.state, JobState::Succeeded(_)));
    assert!(ended.ended_at >= ended.started_at);
    let again = router.wait(job, Duration::MAX).await.unwrap();
    assert_eq!(again.last_event, 2);
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_filter_and_in_pages() {
    let router = router().await;
    let mut echoes = Vec::new();
    for _ in 0..5 {
        let job = create(&router, "echo", json!({ "value": 1 })).await;
        end(&router, job).await;
        echoes.push(job);
    }
    let failed = create(&router, "fail_with_code", json!({})).await;
    end(&router, failed).await;
    let running = create(&router, "wait_for_go", json!({ "key": "list" })).await;
    within(signal("list/started").reached(1)).await;
    echoes.reverse();

    let list = async |change: &dyn Fn(&mut JobQuery)| -> Vec<JobId> {
        let mut query = JobQuery::newest(100);
        change(&mut query);
        router.jobs(&query).await.unwrap().into_iter().map(|job| job.id).collect()
    };
    assert_eq!(list(&|_| {}).await, [&[running, failed], &*echoes].concat());
    assert_eq!(list(&|query| query.states = vec![StateName::Running]).await, [running]);
    assert_eq!(list(&|query| query.states = vec![StateName::Failed]).await, [failed]);
    assert_eq!(list(&|query| query.states = vec![StateName::Queued]).await, []);
    assert_eq!(list(&|query| query.operation = Some("echo".to_owned())).await, echoes);
    assert_eq!(list(&|query| query.limit = 3).await, [running, failed, echoes[0]]);
    assert_eq!(list(&|query| query.before = Some(echoes[1])).await, echoes[2..]);
    let states: Vec<_> = router.jobs(&JobQuery::newest(2)).await.unwrap();
    assert_eq!(states[0].state.as_str(), "running");
    signal("list/go").fire();
}

#[tokio::test]
async fn live_and_ended_jobs_are_listed_together_as_they_stand() {
    let router = router_with(|config| config.jobs.max_running = 1).await;
    let ended = create(&router, "fail_with_code", json!({})).await;
    end(&router, ended).await;
    let running = create(&router, "wait_for_go", json!({ "key": "together" })).await;
    within(signal("together/started").reached(1)).await;
    // The store has it as scheduled until it runs.
    let mut request = JobRequest::new("echo", json!({ "value": 1 }));
    request.start = Start::At(jiff::Timestamp::UNIX_EPOCH);
    let queued = router.create_job(request).await.unwrap().id;
    within(async {
        while router.job(queued).await.unwrap().state.name() != StateName::Queued {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (states, expected) in [
        (vec![StateName::Queued, StateName::Failed], vec![queued, ended]),
        (vec![StateName::Scheduled, StateName::Failed], vec![ended]),
        (vec![StateName::Running, StateName::Failed], vec![running, ended]),
        (vec![], vec![queued, running, ended]),
    ] {
        let mut query = JobQuery::newest(10);
        query.states.clone_from(&states);
        let listed = router.jobs(&query).await.unwrap();
        assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{states:?}");
        assert!(states.is_empty() || listed.iter().all(|job| states.contains(&job.state)));
        for job in listed {
            assert_eq!(job.last_event, router.job(job.id).await.unwrap().last_event);
        }
    }
    signal("together/go").fire();
}

#[tokio::test]
async fn pages_stay_as_they_are_while_jobs_come_and_go() {
    let router = router().await;
    let mut jobs = Vec::new();
    for _ in 0..30 {
        jobs.push(create(&router, "wait_for_go", json!({ "key": "pages" })).await);
    }
    jobs.reverse();
    let (mut listed, mut query) = (Vec::new(), JobQuery::newest(7));
    loop {
        let page = router.jobs(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.before = Some(last.id);
        listed.extend(page.iter().map(|job| job.id));
        // Some come, and these and others end.
        within(router.call("echo", json!({ "value": 1 }))).await.unwrap();
        router.cancel_job(page[0].id).await.unwrap();
        end(&router, page[0].id).await;
        router.cancel_job(jobs[29]).await.ok();
    }
    assert_eq!(listed, jobs);
}

#[tokio::test]
async fn jobs_are_counted_while_they_live() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "count" })).await;
    assert_eq!(router.job_counts().live, 1);
    signal("count/go").fire();
    end(&router, job).await;
    assert_eq!(router.job_counts().live, 0);
}

#[tokio::test]
async fn an_unknown_job_is_unknown_to_every_verb() {
    let router = router().await;
    let id: JobId = "0190d5a8-0000-7000-8000-000000000000".parse().unwrap();
    let errors = [
        router.job(id).await.err(),
        router.wait(id, Duration::ZERO).await.err(),
        router.cancel_job(id).await.err(),
        router.execute_job(id, 0).await.err(),
    ];
    for error in errors {
        assert!(error.unwrap().problem().is(Code::UnknownJob));
    }
    drop(router.cancel_on_drop(id));
}

#[tokio::test]
async fn a_guard_cancels_its_job_when_it_is_dropped() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "guard" })).await;
    within(signal("guard/started").reached(1)).await;
    drop(router.cancel_on_drop(job));
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    drop(router.cancel_on_drop(job));
}

#[tokio::test]
async fn a_job_that_nobody_got_the_id_of_is_cancelled() {
    let router = router_that_accepts_later().await;
    {
        // Dropped when the job has been handed to its task, and not yet been accepted.
        let input = json!({ "key": "nobody" });
        let create = router.create_job(JobRequest::new("wait_for_go", input));
        assert!(futures_util::FutureExt::now_or_never(create).is_none());
    }
    let accepted = async {
        loop {
            match router.jobs(&JobQuery::newest(1)).await.unwrap().first() {
                Some(job) => return job.id,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let job = within(accepted).await;
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

mod operations {
    use skep::prelude::*;

    /// Fail with a code of its own.
    #[skep::operation]
    async fn fail_with_code() -> Result<()> {
        let error = OperationError::new("sold-out", "only 72 seats are left");
        Err(error.with_status(409).with("seats", 72))
    }
}
