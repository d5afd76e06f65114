//! The folder's operations, as a test server runs them.

use std::path::Path;

use skep::testing::{TestJob, TestServer};
use skep::{JobRequest, Value, json};
use skep_exec as _;

fn server() -> TestServer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("operations.d");
    TestServer::builder().config("exec", json!({ "dir": dir })).real_time().start()
}

#[test]
fn word_count_streams_each_word_and_ends_in_the_most_frequent() {
    let server = server();
    let job = server.run("word_count", json!({ "text": "To be or not to be", "top": 2 }));
    assert_eq!(job.result(), json!({ "words": 6, "top": ["to", "be"] }));
    let outputs = job.outputs();
    assert_eq!(outputs.len(), 6);
    assert_eq!(outputs[5], json!({ "word": "be", "count": 2 }));
}

#[test]
fn word_count_refuses_what_is_no_text_and_fails_without_words() {
    let server = server();
    let refused = server.request(JobRequest::new("word_count", json!({ "text": 5, "topp": 1 })));
    let problem = refused.map(|job| job.id()).unwrap_err().problem();
    assert_eq!(
        (problem.status, problem.extensions["errors"].as_array().map(Vec::len)),
        (422, Some(2))
    );
    let problem = server.run("word_count", json!({ "text": " " })).problem();
    assert_eq!((problem.code.as_ref(), problem.status), ("no-words", 422));
}

/// What the log of a job says, with levels.
fn says(job: &TestJob<'_>, text: &str) -> bool {
    job.events().iter().any(|event| format!("{event:?}").contains(text))
}

#[test]
fn countdown_has_its_last_word_when_it_is_cancelled() {
    let server = server();
    // The first event is the job's state, the second is `5`.
    let job = server.create_until("countdown", json!({}), 2);
    job.cancel();
    assert_eq!(job.outputs(), [Value::from("5")]);
    assert!(says(&job, "stopped at 5"), "{:?}", job.events());
}
