//! A job's log and its readers.

use std::time::Duration;

use serde_json::{Value, json};
use skep::job::{End, EventKind, JobState, Start};
use skep::problem::Code;
use skep::store::StoreError;
use skep::{JobId, JobRequest, Router};

use crate::signal::signal;
use crate::support::{create, end, events, frames, router, router_with, within};

fn ids(events: &[skep::job::Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// A job that starts with its first reader, so that a reader of its live log is there in time.
async fn on_stream(router: &Router, operation: &str, input: Value) -> JobId {
    let mut request = JobRequest::new(operation, input);
    request.start = Start::OnStream;
    router.create_job(request).await.unwrap().id
}

#[tokio::test]
async fn a_reader_that_resumes_gets_exactly_the_later_events() {
    let router = router().await;
    let value = json!("a\nb \u{2028} \u{e9}");
    let job = create(&router, "echo", json!({ "value": value, "count": 50 })).await;
    let all = events(&router, job, 0).await;
    assert_eq!(ids(&all), (1..=52).collect::<Vec<_>>());
    assert_eq!(all.iter().filter(|e| e.kind == EventKind::Output(value.clone())).count(), 50);
    assert_eq!(all[51].kind, EventKind::End(End::Succeeded { result: json!(50) }));
    for after in 0..=52 {
        let rest = events(&router, job, after).await;
        assert_eq!(rest, all[usize::try_from(after).unwrap()..]);
    }
}

#[tokio::test]
async fn at_and_past_the_end_there_is_nothing() {
    let router = router().await;
    let job = create(&router, "hello", json!({ "name": "Ada" })).await;
    let last = events(&router, job, 0).await.last().unwrap().id;
    for after in [last, last + 1, last + 1000, u64::MAX] {
        assert_eq!(events(&router, job, after).await, []);
    }
}

#[tokio::test]
async fn a_reader_beyond_a_running_jobs_events_waits_for_its_end() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "beyond" })).await;
    signal("beyond/started").reached(1).await;
    let beyond = tokio::join!(events(&router, job, 1000), events(&router, job, u64::MAX), async {
        signal("beyond/go").fire();
    },);
    assert_eq!((beyond.0, beyond.1), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_what_a_live_reader_got() {
    let router = router().await;
    let value = json!("x".repeat(300));
    let job = on_stream(&router, "echo", json!({ "value": value, "count": 10_000 })).await;
    let live = frames(&router, job).await;
    assert!(live.len() > 3_000_000);
    assert!(end(&router, job).await.is_end());
    let replay = frames(&router, job).await;
    assert!(live == replay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stands_still_costs_the_others_nothing() {
    let router = router().await;
    let value = json!("x".repeat(300));
    let job = on_stream(&router, "echo", json!({ "value": value, "count": 10_000 })).await;
    let mut stalled = router.execute_job(job, 0).await.unwrap().into_frames();
    let mut seen = within(stalled.next()).await.unwrap().unwrap().to_vec();

    let nine = (0..9).map(|_| frames(&router, job));
    let nine = futures_util::future::join_all(nine).await;
    assert!(end(&router, job).await.is_end());
    assert!(nine.iter().all(|log| *log == nine[0]));

    while let Some(bytes) = within(stalled.next()).await.unwrap() {
        seen.extend_from_slice(&bytes);
    }
    assert!(seen == nine[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_late_readers_of_a_long_log_get_all_of_it() {
    let router = router().await;
    let value = json!("x".repeat(5_000));
    let job = on_stream(&router, "echo", json!({ "value": value, "count": 1_000 })).await;
    let slow = async {
        let mut reader = router.execute_job(job, 0).await.unwrap().into_frames();
        let mut log = Vec::new();
        while let Some(bytes) = within(reader.next()).await.unwrap() {
            log.extend_from_slice(&bytes);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        log
    };
    let late = async {
        let mut first = router.execute_job(job, 500).await.unwrap().into_frames();
        within(first.next()).await.unwrap();
        frames(&router, job).await
    };
    let (slow, late, resumed) = tokio::join!(slow, late, events(&router, job, 900));
    assert!(slow == late && slow.len() > 5_000_000);
    assert_eq!(ids(&resumed), (901..=1_002).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_that_waits_for_its_first_reader_starts_with_it() {
    let router = router().await;
    let job = on_stream(&router, "hello", json!({ "name": "Ada" })).await;
    assert!(matches!(router.job(job).await.unwrap().state, JobState::Scheduled));
    assert_eq!(events(&router, job, 0).await.len(), 4);
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_reader_comes_for_is_cancelled() {
    let router = router_with(|config| config.jobs.unclaimed_ttl = Duration::from_secs(30)).await;
    let job = on_stream(&router, "hello", json!({ "name": "Ada" })).await;
    let early = router.wait(job, Duration::from_secs(29)).await.unwrap();
    assert!(matches!(early.state, JobState::Scheduled));
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    let all = events(&router, job, 0).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].kind, EventKind::End(End::Cancelled));
}

#[tokio::test]
async fn a_job_that_waits_for_a_reader_takes_no_place_from_others() {
    let router = router_with(|config| config.jobs.max_running = 1).await;
    let waiting = on_stream(&router, "hello", json!({ "name": "Ada" })).await;
    within(router.call("hello", json!({ "name": "Bob" }))).await.unwrap();
    assert_eq!(events(&router, waiting, 0).await.len(), 4);
}

#[tokio::test]
async fn each_change_of_state_is_told() {
    let router = router_with(|config| config.jobs.max_running = 1).await;
    let first = create(&router, "wait_for_go", json!({ "key": "states" })).await;
    let second = create(&router, "echo", json!({ "value": 1, "count": 0 })).await;
    signal("states/go").fire();
    end(&router, first).await;
    let states: Vec<_> = events(&router, second, 0).await.into_iter().map(|e| e.kind).collect();
    let state = |state: &str| EventKind::State { state: state.to_owned(), attempt: 1 };
    let end = EventKind::End(End::Succeeded { result: json!(0) });
    assert_eq!(states, [state("queued"), state("running"), end]);
}

#[tokio::test]
async fn who_has_read_the_end_finds_the_job_ended() {
    let router = router().await;
    for _ in 0..50 {
        let job = create(&router, "echo", json!({ "value": 1 })).await;
        let last = events(&router, job, 0).await.last().unwrap().id;
        let record = router.job(job).await.unwrap();
        assert!(record.state.is_end());
        assert_eq!(record.last_event, last);
    }
}

#[tokio::test]
async fn a_log_that_is_forgotten_while_it_is_read_ends_in_an_error() {
    let router = router_with(|config| config.jobs.memory = bytesize::ByteSize::mib(1)).await;
    let value = json!("x".repeat(1_000));
    let job = create(&router, "echo", json!({ "value": value, "count": 400 })).await;
    end(&router, job).await;
    let mut reader = router.execute_job(job, 0).await.unwrap().into_frames();
    assert!(within(reader.next()).await.unwrap().is_some());

    // As much again, twice: the first job has to make room.
    for _ in 0..2 {
        let other = create(&router, "echo", json!({ "value": value, "count": 400 })).await;
        end(&router, other).await;
    }
    assert!(matches!(within(reader.next()).await, Err(StoreError::Forgotten(id)) if id == job));
    let gone = router.execute_job(job, 0).await.err().unwrap();
    assert!(gone.problem().is(Code::UnknownJob));
}
