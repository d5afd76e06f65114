//! What a program is given beside its input.

use skep::{Value, json};

use crate::support::{Programs, server, shell_with, spec_of};

#[test]
fn the_environment_is_clean_and_has_the_jobs_facts() {
    // The test's own has many more: Cargo's, for a start.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let env = json!({ "GREETING": "Hello", "LANG": "C", "SKEP_OPERATION": "mine" });
    let server = shell_with("env", json!({ "env": env }));
    let job = server.run("run", json!({}));
    let lines: Vec<_> = job.outputs();
    let lines: Vec<_> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    for line in [
        "SKEP_OPERATION=run",
        "SKEP_ATTEMPT=1",
        "GREETING=Hello",
        "LANG=C",
        &format!("SKEP_JOB_ID={}", job.id()),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    // `PWD`, `SHLVL` and `_` are the shell's own.
    let known = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "GREETING",
        "SKEP_JOB_ID",
        "SKEP_ATTEMPT",
        "SKEP_OPERATION",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    let name = |line: &&str| line.split_once('=').map(|(name, _)| (*name).to_owned());
    let unknown: Vec<_> =
        lines.iter().filter_map(name).filter(|n| !known.contains(&n.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let operation = json!({
        "command": ["printf", "%s\n", "$HOME; *", "two words"], "summary": "Print.",
    });
    let job = server(json!({ "operations": { "run": operation } }));
    let job = job.run("run", json!({}));
    assert_eq!(job.outputs(), ["$HOME; *", "two words"]);
}

#[test]
fn a_program_runs_in_its_folder_and_relative_paths_are_relative_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::write(path.join("in.json"), r#"{ "type": "object", "required": ["n"] }"#).unwrap();
    std::fs::write(path.join("program.sh"), "pwd").unwrap();
    let operation = json!({
        "command": ["sh", "program.sh"],
        "summary": "Where it is.",
        "working_dir": path,
        "input_file": "in.json",
    });
    let server = server(json!({ "operations": { "run": operation } }));
    assert_eq!(server.run("run", json!({ "n": 1 })).outputs(), [path.to_str().unwrap()]);
    let spec = spec_of(&server, "run");
    assert_eq!(spec.input_schema["required"], json!(["n"]));
    assert_eq!(spec.output_schema, Value::Bool(true));
}

#[test]
fn a_program_that_is_gone_fails_its_job_and_no_path_is_told() {
    let programs = Programs::new();
    let program = programs.put("program", "#!/bin/sh\n", 0o755);
    let operation = json!({ "command": [program], "summary": "Soon gone." });
    let server = server(json!({ "operations": { "run": operation } }));
    assert_eq!(server.run("run", json!({})).result(), Value::Null);
    programs.remove("program");
    let problem = server.run("run", json!({})).problem();
    assert_eq!(problem.code, "program-not-started");
    assert_eq!(problem.detail, "the program of `run` can't be started: entity not found");
    programs.put("program", "#!/bin/sh\n", 0o644);
    let problem = server.run("run", json!({})).problem();
    assert_eq!(problem.detail, "the program of `run` can't be started: permission denied");
}
