//! The folder of executables, and what changes in it while the server runs.

use std::sync::Arc;

use skep::operation::{OperationHandler, OperationSpec};
use skep::prelude::*;
use skep::testing::TestServer;
use skep::{Value, json};

use crate::support::{Programs, builder, first_output, spec_of, until};

fn serving(programs: &Programs) -> TestServer {
    builder(json!({ "dir": programs.path() })).start()
}

fn names(server: &TestServer) -> Vec<String> {
    let operations = server.router().operations();
    let names = operations.iter().map(|spec| spec.name.clone());
    names.filter(|name| name != "linked").collect()
}

fn summary(text: &str) -> Value {
    json!({ "summary": text })
}

#[test]
fn an_executable_is_served_as_it_describes_itself() {
    let programs = Programs::new();
    let spec = json!({
        "name": "greet",
        "summary": "Greet someone.",
        "input": { "type": "object", "required": ["name"] },
        "timeout": "10s",
        "read_only": true,
        "env": { "GREETING": "Hello" },
    });
    programs.script("hello.sh", &spec, r#"echo "$GREETING from $(pwd)""#);
    programs.script("plain.sh", &summary("Named by its file."), "");
    let server = serving(&programs);
    assert_eq!(names(&server), ["greet", "plain"]);
    let spec = spec_of(&server, "greet");
    assert_eq!(spec.summary, "Greet someone.");
    assert!(spec.hints.read_only && spec.limits.timeout.is_some());
    let job = server.run("greet", json!({ "name": "Ada" }));
    let folder = programs.path().canonicalize().unwrap();
    assert_eq!(job.outputs(), [format!("Hello from {}", folder.display())]);
}

#[test]
fn a_bad_file_is_left_out_and_the_others_are_served() {
    let programs = Programs::new();
    programs.script("good.sh", &summary("It's good."), "");
    programs.put("plain.sh", "#!/bin/sh\n", 0o644);
    programs.put("rubbish.sh", "#!/bin/sh\necho rubbish\n", 0o755);
    programs.put("fails.sh", "#!/bin/sh\nexit 1\n", 0o755);
    programs.put("nothing", "no program at all", 0o755);
    programs.put(".hidden.sh", "#!/bin/sh\n", 0o755);
    programs.put("floods.sh", "#!/bin/sh\nyes\n", 0o755);
    programs.script("Invalid-Name.sh", &summary("Its name is no operation's."), "");
    programs.script("unknown_key.sh", &json!({ "summary": "", "timeuot": "1s" }), "");
    programs.script("schema.sh", &json!({ "summary": "", "input": { "type": 5 } }), "");
    programs.script("never.sh", &json!({ "summary": "", "timeout": "soon" }), "");
    programs.script("commands.sh", &json!({ "summary": "", "command": ["true"] }), "");
    programs.script("good.sh~", &summary("An editor's."), "");
    std::fs::create_dir(programs.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", programs.path().join("dangling")).unwrap();
    assert_eq!(names(&serving(&programs)), ["good"]);
}

/// An operation that another crate has.
struct Taken(OperationSpec);

#[skep::async_trait]
impl OperationHandler for Taken {
    fn spec(&self) -> &OperationSpec {
        &self.0
    }

    async fn handle(&self, _: Value, _: &JobContext) -> Result<Value> {
        Ok("the program".into())
    }
}

/// An operation that is linked into this program, beside the plugin's.
#[skep::operation]
async fn linked() -> Result<String> {
    Ok("the crate".to_owned())
}

#[test]
fn a_file_whose_name_is_taken_is_left_out() {
    let programs = Programs::new();
    let result = |whose: &str| format!(r#"echo '{{"result":"{whose}"}}'"#);
    programs.script("linked.sh", &summary("A crate has it."), &result("the file"));
    programs.script("declared.sh", &summary("The configuration has it."), &result("the file"));
    programs.script("a.sh", &json!({ "name": "twice", "summary": "" }), &result("the first"));
    programs.script("b.sh", &json!({ "name": "twice", "summary": "" }), &result("the second"));
    programs.script("free.sh", &summary("Nobody has it."), &result("the file"));
    let declared = json!({
        "command": ["sh", "-c", result("the configuration")], "summary": "It's declared.",
    });
    let exec = json!({ "dir": programs.path(), "operations": { "declared": declared } });
    let taken = Taken(OperationSpec::new("own", "The program's own."));
    let server = builder(exec).handler(Arc::new(taken)).start();
    assert_eq!(names(&server), ["declared", "free", "own", "twice"]);
    for (name, whose) in [
        ("declared", "the configuration"),
        ("free", "the file"),
        ("linked", "the crate"),
        ("twice", "the first"),
    ] {
        assert_eq!(server.run(name, json!({})).result(), whose, "{name}");
    }
}

#[test]
fn what_is_put_into_the_folder_is_served_and_what_is_taken_out_is_not() {
    let programs = Programs::new();
    let server = serving(&programs);
    assert!(names(&server).is_empty());
    programs.script("late.sh", &summary("It comes late."), r#"echo '{"result":1}'"#);
    until(&server, "it's served", || names(&server) == ["late"]);
    assert_eq!(server.run("late", json!({})).result(), 1);
    programs.remove("late.sh");
    until(&server, "it's not served", || names(&server).is_empty());
}

#[test]
fn a_program_that_is_replaced_while_it_runs_finishes_and_the_next_job_has_the_new_one() {
    let programs = Programs::new();
    let go = programs.path().join(".go");
    let old = format!(
        r#"echo '{{"emit":"old"}}'; until [ -e '{}' ]; do sleep 0.05; done; echo '{{"result":"old"}}'"#,
        go.display()
    );
    programs.script("run.sh", &summary("The old one."), &old);
    let server = serving(&programs);
    let job = server.create("run", json!({}));
    assert_eq!(first_output(&job), "old");

    programs.script("run.sh", &summary("The new one."), r#"echo '{"result":"new"}'"#);
    let is_new = || spec_of(&server, "run").summary == "The new one.";
    until(&server, "the new one is served", is_new);
    assert_eq!(server.run("run", json!({})).result(), "new");

    std::fs::write(go, "").unwrap();
    assert_eq!(job.result(), "old");
}

#[test]
fn a_file_that_is_made_executable_is_served() {
    let programs = Programs::new();
    programs.script("run.sh", &summary("It's ready."), "");
    let path = programs.path().join("run.sh");
    let chmod = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod(0o644);
    let server = serving(&programs);
    assert!(names(&server).is_empty());
    chmod(0o755);
    until(&server, "it's served", || names(&server) == ["run"]);
}

#[test]
fn a_folder_that_is_gone_keeps_what_it_had_until_it_is_back() {
    let programs = Programs::new();
    programs.script("run.sh", &summary("The old one."), "");
    let away = programs.path().with_extension("away");
    let dir = programs.path();
    let server = serving(&programs);
    std::fs::rename(&dir, &away).unwrap();
    // Longer than it takes to look.
    server.advance(std::time::Duration::from_millis(1200));
    assert_eq!(names(&server), ["run"]);
    std::fs::rename(&away, &dir).unwrap();
    programs.remove("run.sh");
    until(&server, "it's empty", || names(&server).is_empty());
}

#[test]
fn only_what_has_changed_is_asked_again() {
    let programs = Programs::new();
    let asked = programs.path().join(".asked");
    let counting = format!(
        "#!/bin/sh\necho x >>'{}'\necho '{{\"summary\":\"It counts.\"}}'\n",
        asked.display()
    );
    programs.put("counts.sh", &counting, 0o755);
    let server = serving(&programs);
    programs.script("other.sh", &summary("Another one."), "");
    until(&server, "both are served", || names(&server) == ["counts", "other"]);
    assert_eq!(std::fs::read_to_string(asked).unwrap(), "x\n");
}
