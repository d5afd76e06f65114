//! What is refused at the start, and in which words.

use skep::{Value, json};

use crate::support::{Programs, refusal};

/// Why a server with such an operation doesn't start.
fn refused(operation: &Value) -> String {
    refusal(json!({ "operations": { "run": operation } }))
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let error = refused(&json!({ "command": ["true"], "summary": "", "timeuot": "1s" }));
    assert!(
        error.contains("/operations/run/timeuot is not a field, did you mean `timeout`?"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_names_its_operation_and_its_key() {
    let programs = Programs::new();
    let plain = programs.put("plain", "", 0o644);
    let none = programs.path().join("none");
    for (key, value, words) in [
        ("timeout", json!("soon"), "`timeout`: `soon` is not a duration"),
        ("cancel_grace", json!("-1s"), "`cancel_grace`: `-1s` is negative"),
        ("command", json!([none]), "`command`: there is no file `"),
        ("command", json!([plain]), "is not executable: chmod +x it"),
        ("command", json!(["skep-no-such-program"]), "there is no program `skep-no-such-program`"),
        ("command", json!([""]), "`command`: is empty"),
        ("working_dir", json!(none), "`working_dir`: there is no folder `"),
        ("env", json!({ "A=B": "" }), "`env`: `A=B` can't be a variable"),
        ("input_file", json!("none.json"), "`input_file`: `"),
        ("output_file", json!(plain), "plain` can't be read: EOF while parsing"),
        ("output", json!({ "type": 5 }), "`output`: is no schema"),
    ] {
        let mut operation = json!({ "command": ["true"], "summary": "It does nothing." });
        operation[key] = value;
        let error = refused(&operation);
        assert!(
            error.contains("[plugins.exec.operations.run] ") && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let operation = |command: &str| json!({ "command": [command], "summary": "It's not there." });
    let operations = json!({ "one": operation("skep-no-one"), "two": operation("skep-no-two") });
    let error = refusal(json!({ "operations": operations }));
    assert!(error.contains("skep-no-one") && error.contains("skep-no-two"), "{error}");
}

#[test]
fn a_schema_is_given_once() {
    let operation = json!({
        "command": ["true"], "summary": "", "input": {}, "input_file": "in.json",
    });
    assert!(refused(&operation).contains("`input` and `input_file` are both given"));
}

#[test]
fn what_core_would_not_serve_is_refused() {
    for (name, more, words) in [
        ("Run", json!({}), "operation `Run`"),
        ("run", json!({ "input": { "type": 5 } }), "its input's schema is none"),
    ] {
        let mut operation = json!({ "command": ["true"], "summary": "It does nothing." });
        if let Some(input) = more.get("input") {
            operation["input"] = input.clone();
        }
        let error = refusal(json!({ "operations": { name: operation } }));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let error = refusal(json!({ "dir": "no-such-folder" }));
    assert!(error.contains("`dir`: the folder `no-such-folder` can't be read"), "{error}");
}
