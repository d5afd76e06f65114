//! How a program ends, and what ends with it.

use std::time::{Duration, Instant};

use skep::json;

use crate::support::{
    PATIENCE, builder, first_output, log, python, runs, server, shell, shell_with, until,
};

/// Starts a child and a grandchild, tells their ids, and waits.
const FAMILY: &str = r#"
import json, os, subprocess, sys, time
child = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE)
grandchild = int(child.stdout.readline())
print(json.dumps({"emit": [os.getpid(), child.pid, grandchild]}), flush=True)
time.sleep(600)
"#;

#[test]
fn a_cancelled_program_ends_with_its_children_and_theirs() {
    let server = python(FAMILY);
    let job = server.create("run", json!({}));
    let family = first_output(&job);
    let family = family.as_array().unwrap();
    assert!(family.len() == 3 && family.iter().all(runs), "{family:?}");
    job.cancel();
    until(&server, "the whole family is gone", || !family.iter().any(runs));
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_its_grace_with_its_children() {
    // What is ignored stays so in the child.
    let script = r#"trap '' TERM; sleep 600 & echo "{\"emit\":[$$,$!]}"; wait; wait"#;
    let server = shell_with(script, json!({ "cancel_grace": "200ms" }));
    let job = server.create("run", json!({}));
    let family = first_output(&job);
    let cancelled = Instant::now();
    job.cancel();
    assert!(cancelled.elapsed() >= Duration::from_millis(200), "{:?}", cancelled.elapsed());
    until(&server, "both are gone", || !family.as_array().unwrap().iter().any(runs));
}

#[test]
fn a_program_has_its_grace_to_clean_up_and_its_last_words_are_logged() {
    let script = r#"trap 'echo cleaned up >&2; exit' TERM; echo '{"emit":1}'; sleep 600 & wait"#;
    let server = shell(script);
    let job = server.create("run", json!({}));
    first_output(&job);
    job.cancel();
    assert_eq!(log(&job), ["info: cleaned up"]);
}

#[test]
fn a_handler_that_is_dropped_takes_its_program_with_it() {
    let script = r#"trap '' TERM; sleep 600 & echo "{\"emit\":[$$,$!]}"; wait; wait"#;
    let operation = json!({
        "command": ["sh", "-c", script], "summary": "A script.", "cancel_grace": "10m",
    });
    let server = builder(json!({ "operations": { "run": operation } }))
        .jobs(|jobs| jobs.cancel_grace = Duration::from_millis(100))
        .start();
    let job = server.create("run", json!({}));
    let family = first_output(&job);
    job.cancel();
    until(&server, "both are gone", || !family.as_array().unwrap().iter().any(runs));
}

#[test]
fn a_program_that_runs_out_of_time_is_ended() {
    let server =
        shell_with(r#"echo "{\"emit\":$$}"; exec sleep 600"#, json!({ "timeout": "300ms" }));
    let job = server.create("run", json!({}));
    let pid = first_output(&job);
    assert_eq!(job.problem().code, "timeout");
    until(&server, "it's gone", || !runs(&pid));
}

#[test]
fn a_program_that_exits_with_an_error_fails_its_job_and_its_last_words_are_told() {
    let server = shell("echo first >&2; echo no such file >&2; exit 3");
    let job = server.run("run", json!({}));
    let problem = job.problem();
    assert_eq!((problem.code.as_ref(), problem.status), ("program-failed", 500));
    assert_eq!(problem.detail, "the program ended with exit code 3: first\nno such file");
    assert_eq!(problem.extensions["exit_code"], 3);
    assert_eq!(log(&job), ["info: first", "info: no such file"]);
}

#[test]
fn a_result_does_not_make_good_an_exit_code() {
    let problem = shell(r#"echo '{"result":1}'; exit 1"#).run("run", json!({})).problem();
    assert_eq!(problem.detail, "the program ended with exit code 1");
}

#[test]
fn a_program_that_dies_by_a_signal_fails_its_job() {
    let problem = shell("kill -SEGV $$").run("run", json!({})).problem();
    assert_eq!(problem.code, "program-failed");
    assert_eq!(problem.detail, "the program ended with signal 11");
    assert_eq!(problem.extensions["signal"], 11);
}

#[test]
fn a_child_that_holds_the_pipes_ends_with_its_program() {
    let server = shell(r#"sleep 600 & echo "{\"result\":$!}""#);
    let job = server.run("run", json!({}));
    let pid = job.result();
    until(&server, "it's gone", || !runs(&pid));
}

/// Ends what left its group, with the test.
struct Daemon(String);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

#[test]
fn a_child_that_left_the_group_and_holds_the_pipes_does_not_hold_the_job() {
    let server = python(
        r#"
import json, subprocess
daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(json.dumps({"result": daemon.pid}))
"#,
    );
    let began = Instant::now();
    let pid = server.run("run", json!({})).result();
    let _daemon = Daemon(pid.to_string());
    assert!(runs(&pid) && began.elapsed() < PATIENCE);
}

#[test]
fn programs_end_with_their_server() {
    let operation = json!({
        "command": ["sh", "-c", r#"echo "{\"emit\":$$}"; exec sleep 600"#], "summary": "A script.",
    });
    let server = server(json!({ "operations": { "run": operation } }));
    let job = server.create("run", json!({}));
    let pid = first_output(&job);
    server.crash();
    until(&server, "it's gone", || !runs(&pid));
}
