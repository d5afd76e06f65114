//! What a program says, and what becomes of it.

use skep::job::EventKind;
use skep::json;

use crate::support::{first_output, log, python, shell, shell_with};

/// Reads its input and says one of everything.
const EVERYTHING: &str = r#"
import json, sys
given = json.loads(sys.stdin.readline())
assert sys.stdin.read() == ""
def say(**line):
    print(json.dumps(line), flush=True)
for word in given["text"].split():
    say(emit=word)
say(progress={"done": 1, "total": 2, "unit": "words"})
say(log={"level": "warn", "message": "careful"})
say(log="a text")
print("a plain line")
print("from the standard error", file=sys.stderr)
say(result={"words": len(given["text"].split())})
"#;

#[test]
fn a_python_program_streams_what_it_does_and_ends_in_a_result() {
    let server = python(EVERYTHING);
    let job = server.run("run", json!({ "text": "Hello, Ada!" }));
    assert_eq!(job.result(), json!({ "words": 2 }));
    assert_eq!(job.outputs(), ["Hello,", "Ada!", "a plain line"]);
    let mut log = log(&job);
    log.sort();
    assert_eq!(log, ["info: a text", "info: from the standard error", "warn: careful"]);
    let is_progress = |kind: &EventKind| matches!(kind, EventKind::Progress(p) if p.done == 1);
    assert!(job.events().iter().any(|event| is_progress(&event.kind)));
}

#[test]
fn what_a_program_says_is_told_while_it_runs() {
    let server = shell(r#"echo '{"emit":1}'; read -r line; sleep 600"#);
    let job = server.create("run", json!({}));
    assert_eq!(first_output(&job), 1);
    job.cancel();
}

#[test]
fn a_program_that_says_nothing_comes_to_null() {
    assert_eq!(shell("true").run("run", json!({})).result(), json!(null));
}

#[test]
fn rubbish_is_emitted_as_text() {
    let server = shell(r#"printf 'a\n\n{"emit":1,"x":2}\n{"name":"Ada"}\n{\nb\377\n{"emit":2}'"#);
    let job = server.run("run", json!({}));
    let expected =
        json!(["a", "", r#"{"emit":1,"x":2}"#, r#"{"name":"Ada"}"#, "{", "b\u{FFFD}", 2]);
    assert_eq!(json!(job.outputs()), expected);
    assert_eq!(job.result(), json!(null));
}

#[test]
fn a_line_of_the_protocol_that_does_not_fit_fails_the_job() {
    let server = shell(r#"echo '{"progress":"half"}'; sleep 600"#);
    let problem = server.run("run", json!({})).problem();
    assert_eq!(problem.code, "bad-line");
    assert!(problem.detail.contains(r#"{"progress":"half"}"#), "{problem}");
}

#[test]
fn a_programs_own_error_is_told_as_it_is_whatever_its_exit_code() {
    let error = r#"{"error":{"code":"sold-out","detail":"none left","status":409,"seats":0}}"#;
    let server = shell(&format!("echo '{error}'; exit 1"));
    let problem = server.run("run", json!({})).problem();
    assert_eq!((problem.code.as_ref(), problem.status), ("sold-out", 409));
    assert_eq!((problem.detail.as_str(), &problem.extensions["seats"]), ("none left", &json!(0)));
}

#[test]
fn what_comes_after_the_result_is_ignored_with_a_warning() {
    let server = shell(r#"echo '{"result":1}'; echo more; echo '{"emit":2}'; echo '{"result":3}'"#);
    let job = server.run("run", json!({}));
    assert_eq!((job.result(), job.outputs()), (json!(1), vec![]));
    assert_eq!(log(&job), ["warn: what comes after the result is ignored: more"]);
}

#[test]
fn a_program_that_goes_on_after_its_result_is_ended_and_the_result_stands() {
    let script = r#"echo '{"result":1}'; exec sleep 600"#;
    let server = shell_with(script, json!({ "cancel_grace": "100ms" }));
    let job = server.run("run", json!({}));
    assert_eq!(job.result(), 1);
    assert_eq!(log(&job), ["warn: the program was ended: it still ran 100ms after its result"]);
}

#[test]
fn a_program_that_does_not_read_its_input_is_not_waited_for() {
    let input = json!({ "text": "x".repeat(1 << 20) });
    // The first closes its standard input, the second leaves it open.
    for script in [r#"exec <&-; echo '{"result":1}'"#, r#"echo '{"result":1}'"#] {
        assert_eq!(shell(script).run("run", input.clone()).result(), 1, "{script}");
    }
}

#[test]
fn a_large_input_arrives_while_the_program_writes() {
    let server = shell("cat");
    let text = "x".repeat(900_000);
    let job = server.run("run", json!({ "emit": text }));
    assert_eq!(job.outputs(), [text]);
}

#[test]
fn a_result_that_does_not_fit_the_output_schema_fails_the_job() {
    let output = json!({ "type": "object", "required": ["words"] });
    let server = shell_with(r#"echo '{"result":{}}'"#, json!({ "output": output }));
    let problem = server.run("run", json!({})).problem();
    assert_eq!(problem.code, "invalid-result");
    assert_eq!(problem.extensions["errors"][0]["pointer"], "/words");
}
