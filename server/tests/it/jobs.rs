//! The jobs of a server: listed over HTTP, and by `skep jobs`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::proxy::cutting_proxy;
use crate::support::{Server, command, program, stderr, stdout};

/// An id that no job has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The ids of a page, or of a list of the command line.
fn ids(jobs: &Value) -> Vec<&str> {
    jobs.as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn jobs_are_found_by_state_operation_and_parent() {
    let server = Server::start(&[]);
    let echo = server.job("echo", json!({ "value": 1 })).await;
    let panic = server.job("panic_early", json!({})).await;
    let caller = server.job("call_b", json!({})).await;
    for id in [&echo, &panic, &caller] {
        server.ended(id).await;
    }
    let running = server.job("ignore_cancellation", json!({})).await;
    let (running, caller) = (running.as_str(), caller.as_str());
    for (query, expected) in [
        ("state=succeeded", &[echo.as_str()][..]),
        ("state=running", &[running]),
        ("state=running,succeeded", &[running, &echo]),
        ("state=running%2Csucceeded", &[running, &echo]),
        ("operation=echo", &[&echo]),
        ("operation=echo&state=failed", &[]),
        ("operation=nothing", &[]),
        ("operation=call_b", &[caller]),
    ] {
        let page = server.json(&format!("/v1/jobs?{query}")).await;
        assert_eq!(ids(&page["jobs"]), expected, "{query}");
    }
    let children = server.json(&format!("/v1/jobs?parent={caller}")).await;
    let children = children["jobs"].as_array().unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(
        (&children[0]["operation"], &children[0]["parent"]),
        (&json!("call_c"), &json!(caller))
    );
    // What may be large is left out; that it failed, and by what, isn't.
    let failed = &server.json("/v1/jobs?operation=panic_early").await["jobs"][0];
    assert_eq!(failed["error_code"], "panic");
    assert!(failed.get("input").is_none() && failed.get("error").is_none(), "{failed}");
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_refused_with_words() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": 1 })).await;
    for (path, says) in [
        ("/v1/jobs?state=runing", "did you mean `running`?"),
        ("/v1/jobs?state=done", "there are scheduled, queued, running,"),
        ("/v1/jobs?state=", "is not a state"),
        ("/v1/jobs?state=failed,", "is not a state"),
        ("/v1/jobs?state=failed&state=queued", "more than once"),
        ("/v1/jobs?stat=failed", "did you mean `state`?"),
        ("/v1/jobs?parent=x", "it is a job's id"),
        ("/v1/jobs?limit=0", "from 1 to 500"),
        ("/v1/jobs?limit=501", "from 1 to 500"),
        ("/v1/jobs?limit=all", "from 1 to 500"),
        ("/v1/jobs?cursor=2", "`next_cursor`"),
        (&format!("/v1/jobs/{id}?wait=soon"), "`soon` is not a duration"),
        (&format!("/v1/jobs/{id}?wait=-1s"), "negative"),
        (&format!("/v1/jobs/{id}?wait="), "is not a duration"),
    ] {
        let refused = server.fetch(path).await;
        assert_eq!(refused.status(), 400, "{path}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "invalid-query", "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path}: {problem}");
    }
}

#[tokio::test]
async fn hidden_jobs_leave_gaps_in_a_page_and_never_end_the_list() {
    let server = Server::start(&[]);
    for _ in 0..3 {
        server.post("/v1/operations/secret_ask", &json!({})).await;
    }
    let (mut seen, mut empty, mut cursor) = (0, 0, String::new());
    loop {
        let page = server.json(&format!("/v1/jobs?limit=1{cursor}")).await;
        let found = ids(&page["jobs"]).len();
        seen += found;
        empty += usize::from(found == 0);
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    // Each of the three has called one that is hidden.
    assert!(seen == 3 && empty >= 3, "{seen} seen, {empty} empty");
    let listed = stdout(&server.skep(&["jobs", "--limit", "2"]));
    assert_eq!(listed.matches("secret_ask").count(), 2, "{listed}");
}

#[tokio::test]
async fn jobs_lists_them_for_people_and_for_programs() {
    let server = Server::start(&[]);
    let none = server.skep(&["jobs"]);
    assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(0), "There are no jobs.\n"));
    let echo = server.job("echo", json!({ "value": 1 })).await;
    let panic = server.job("panic_early", json!({})).await;
    server.ended(&echo).await;
    server.ended(&panic).await;

    let table = stdout(&server.skep(&["jobs"]));
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("JOB "), "{table}");
    assert!(lines[1].starts_with(&format!("{panic}  panic_early  failed (panic)  ")), "{table}");
    assert!(lines[2].starts_with(&format!("{echo}  echo         succeeded       ")), "{table}");

    let json: Value = serde_json::from_str(&stdout(&server.skep(&["jobs", "--json"]))).unwrap();
    assert_eq!(ids(&json), [panic.as_str(), &echo]);
    assert_eq!(server.skep(&["jobs", "--limit", "0"]).status.code(), Some(2));
    let limited = server.skep(&["jobs", "--json", "--limit", "1"]);
    assert_eq!(ids(&serde_json::from_str(&stdout(&limited)).unwrap()), [panic.as_str()]);
    let failed = server.skep(&["jobs", "--state", "failed,cancelled", "--json"]);
    assert_eq!(ids(&serde_json::from_str(&stdout(&failed)).unwrap()), [panic.as_str()]);
    let other = server.skep(&["jobs", "--operation", "check"]);
    assert_eq!(stdout(&other), "There are no such jobs.\n");
    let refused = server.skep(&["jobs", "--state", "runing"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("did you mean `running`?"), "{}", stderr(&refused));
}

#[tokio::test]
async fn show_prints_a_job_and_an_id_that_is_none_is_told() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "x" })).await;
    server.ended(&id).await;
    let shown = server.skep(&["jobs", "show", &id]);
    let job: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!((&job["job_id"], &job["input"]["value"]), (&json!(id), &json!("x")));
    for action in ["show", "watch", "cancel", "retry"] {
        let gone = server.skep(&["jobs", action, NOBODY]);
        assert_eq!(gone.status.code(), Some(1), "{action}");
        assert!(stderr(&gone).contains("(unknown-job)"), "{action}: {}", stderr(&gone));
        let wrong = server.skep(&["jobs", action, "../operations"]);
        assert_eq!(wrong.status.code(), Some(2), "{action}");
        assert!(stderr(&wrong).contains("is not a job's id"), "{action}: {}", stderr(&wrong));
    }
}

#[tokio::test]
async fn watch_prints_what_run_does_from_the_first_event_on() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "hi", "count": 2 })).await;
    server.ended(&id).await;
    let watched = server.skep(&["jobs", "watch", &id]);
    assert_eq!((watched.status.code(), stdout(&watched).as_str()), (Some(0), "hi\nhi\n"));
    let failed = server.job("panic_late", json!({})).await;
    assert_eq!(server.skep(&["jobs", "watch", &failed]).status.code(), Some(1));
}

#[tokio::test]
async fn a_watch_that_is_interrupted_leaves_the_job_alone() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": 1, "count": 100_000, "interval_us": 1000 })).await;
    let mut watch = command(program())
        .args(["jobs", "watch", &id])
        .env("SKEP_URL", &server.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(watch.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    let pid = watch.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(stderr(&ended).contains("the job goes on"), "{}", stderr(&ended));
    assert_eq!(server.json(&format!("/v1/jobs/{id}")).await["state"], "running");
}

#[tokio::test]
async fn cancel_waits_for_the_end_and_prints_it() {
    let server = Server::configured("[jobs]\ncancel_grace = \"200ms\"", &[]);
    let id = server.job("ignore_cancellation", json!({})).await;
    let cancelled = server.skep(&["jobs", "cancel", &id]);
    assert_eq!((cancelled.status.code(), stdout(&cancelled).as_str()), (Some(0), "cancelled\n"));
    let again = server.skep(&["jobs", "cancel", &id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("has ended before: cancelled"), "{}", stderr(&again));
}

#[tokio::test]
async fn retry_runs_the_same_again_as_a_new_job() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "hi", "count": 2 })).await;
    server.ended(&id).await;
    let retried = server.skep(&["jobs", "retry", &id]);
    assert_eq!((retried.status.code(), stdout(&retried).as_str()), (Some(0), "hi\nhi\n"));
    let new = stderr(&retried).trim().strip_prefix("job ").unwrap().to_owned();
    assert_ne!(new, id);
    let [old, new] = [id, new].map(|id| format!("/v1/jobs/{id}"));
    assert_eq!(server.json(&old).await["input"], server.json(&new).await["input"]);
}

#[tokio::test]
async fn retry_refuses_a_job_that_goes_on() {
    let server = Server::start(&[]);
    let id = server.job("ignore_cancellation", json!({})).await;
    let refused = server.skep(&["jobs", "retry", &id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the job hasn't ended"), "{}", stderr(&refused));
    assert_eq!(ids(&server.json("/v1/jobs").await["jobs"]), [id.as_str()]);
}

#[tokio::test]
async fn a_wait_that_runs_out_is_answered_with_the_job_as_it_stands() {
    let server = Server::start(&[]);
    let id = server.job("ignore_cancellation", json!({})).await;
    let asked = std::time::Instant::now();
    let job = server.json(&format!("/v1/jobs/{id}?wait=200ms")).await;
    assert!(asked.elapsed() >= std::time::Duration::from_millis(200), "{:?}", asked.elapsed());
    assert_eq!((&job["state"], &job["ended_at"]), (&json!("running"), &Value::Null));
}

#[cfg(feature = "stock")]
#[tokio::test]
async fn jobs_of_an_operation_that_is_not_served_any_more_are_still_there() {
    let mut server = Server::start(&[]);
    let asked = server.post("/v1/operations/secret_ask", &json!({})).await;
    assert_eq!(asked.status(), 200);
    let id = asked.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let log = server.log(&id).await;
    server.signal("TERM");
    server.restart_as_stock();
    assert_eq!(server.fetch("/v1/operations/secret_ask").await.status(), 404);
    assert_eq!(server.json(&format!("/v1/jobs/{id}")).await["state"], "succeeded");
    assert_eq!(server.log(&id).await, log);
    // What it called was hidden, and may have been for that reason.
    assert_eq!(ids(&server.json("/v1/jobs").await["jobs"]), [id.as_str()]);
}

#[tokio::test]
async fn a_detached_run_prints_the_jobs_id() {
    let server = Server::start(&[]);
    let run = server.skep(&["run", "echo", "value=1", "--detach"]);
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(server.ended(stdout(&run).trim()).await["state"], "succeeded");
}

#[test]
fn run_takes_up_a_stream_that_is_cut_and_prints_nothing_twice() {
    let server = Server::start(&[]);
    // Cut in an event, then before the answer, then in a later event.
    let proxy = cutting_proxy(server.address(), &[2_000, 0, 3_001]);
    let run = server.skep(&[
        "run",
        "echo",
        "value=x",
        "count=200",
        "--json",
        "--server",
        &format!("http://{proxy}"),
    ]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let ids: Vec<u64> = stdout(&run)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (1..=202).collect::<Vec<_>>());
}
