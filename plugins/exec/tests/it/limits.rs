//! What a program may not do without bounds.

use skep::job::EventKind;
use skep::testing::TestServer;
use skep::{JobRequest, Value, json};

use crate::support::{builder, first_output, log, runs, server, shell, shell_with, until};

fn flooding(script: &str) -> TestServer {
    let operation = json!({ "command": ["sh", "-c", script], "summary": "A script." });
    builder(json!({ "operations": { "run": operation } }))
        .jobs(|jobs| jobs.max_log = "100kB".parse().unwrap())
        .start()
}

#[test]
fn a_flood_ends_at_the_limit_of_the_jobs_log_with_its_program() {
    for flood in ["yes", "yes >&2"] {
        let server = flooding(&format!(r#"echo "{{\"emit\":$$}}"; {flood}"#));
        let job = server.create("run", json!({}));
        let pid = first_output(&job);
        assert_eq!(job.problem().code, "output-too-large", "{flood}");
        until(&server, "it's gone", || !runs(&pid));
    }
}

#[test]
fn a_line_without_an_end_fails_the_job() {
    let server = shell("tr '\\0' x </dev/zero");
    let problem = server.run("run", json!({})).problem();
    assert_eq!(problem.code, "line-too-long");
    assert!(problem.detail.len() < 500 && problem.detail.contains("1048576"), "{problem}");
}

#[test]
fn a_long_line_of_the_standard_error_is_logged_in_parts() {
    let server = shell("head -c 10000 /dev/zero | tr '\\0' x >&2");
    let job = server.run("run", json!({}));
    assert_eq!(job.result(), Value::Null);
    let length = |line: &String| line.len() - "info: ".len();
    let lengths: Vec<_> = log(&job).iter().map(length).collect();
    assert_eq!(lengths, [4096, 4096, 10_000 - 2 * 4096]);
}

#[test]
fn an_input_that_breaks_the_schema_is_refused_before_a_process_exists() {
    let folder = tempfile::tempdir().unwrap();
    let operation = json!({
        "command": ["touch", "it-ran"],
        "summary": "A script.",
        "working_dir": folder.path(),
        "input": {
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"],
        },
    });
    let server = server(json!({ "operations": { "run": operation } }));
    let refused = server.request(JobRequest::new("run", json!({ "text": 5 })));
    let problem = refused.map(|job| job.id()).unwrap_err().problem();
    assert_eq!(problem.status, 422);
    assert_eq!(problem.extensions["errors"][0]["pointer"], "/text");
    assert!(!folder.path().join("it-ran").exists());
    server.run("run", json!({ "text": "" })).result();
    assert!(folder.path().join("it-ran").exists());
}

#[test]
fn no_more_jobs_run_at_once_than_may_and_no_more_wait() {
    let limits = json!({ "max_concurrency": 1, "max_queued": 1 });
    let server = shell_with(r#"echo '{"emit":1}'; exec sleep 600"#, limits);
    let first = server.create("run", json!({}));
    first_output(&first);
    let second = server.create("run", json!({}));
    assert_eq!(second.record().state.as_str(), "queued");
    let third = server.request(JobRequest::new("run", json!({})));
    assert_eq!(third.map(|job| job.id()).unwrap_err().problem().code, "too-many-jobs");
    first.cancel();
    first_output(&second);
    second.cancel();
    let begun =
        |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if state == "running");
    assert!(second.events().iter().any(|event| begun(&event.kind)));
}
