//! A queen and two hives, from nothing to the death of one of them: by the command line, as a user
//! would.

mod sshd;

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sshd::{ALIAS, Sshd};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skep-cluster");

/// A queen who knows the way to the `sshd`.
struct Queen {
    child: Child,
    url: String,
    directory: TempDir,
}

impl Queen {
    fn start() -> (Self, Sshd) {
        let directory = tempfile::tempdir().unwrap();
        let sshd = Sshd::start(directory.path());
        let config = format!(
            "[plugins.hive]\nssh_config = '{}'\nheartbeat = '100ms'\nlate_after = '1s'\noffline_after = '3s'\n",
            sshd.config.display()
        );
        std::fs::write(directory.path().join("skep.toml"), config).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"])
            .current_dir(directory.path())
            // Where hives on this machine have their data.
            .env("XDG_DATA_HOME", directory.path().join("local"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("listening on")).expect("it listens");
        let url = line[line.find("http://").unwrap()..].trim().to_owned();
        std::thread::spawn(move || log.for_each(drop));
        (Self { child, url, directory }, sshd)
    }

    fn command(&self, operation: &str, fields: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["run", operation]).args(fields).env("SKEP_URL", &self.url);
        command
    }

    /// Runs an operation. Returns whether it succeeded, its output, and what it told.
    fn run(&self, operation: &str, fields: &[&str]) -> (bool, String, String) {
        let output = self.command(operation, fields).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Runs an operation that succeeds: what it prints, which is JSON, and what it told.
    fn call(&self, operation: &str, fields: &[&str]) -> (Value, String) {
        let (succeeded, output, told) = self.run(operation, fields);
        assert!(succeeded, "{operation}: {told}");
        (serde_json::from_str(&output).unwrap_or_else(|_| output.into()), told)
    }

    /// The layers of the way to a hive, and whether they work.
    fn check(&self, hive: &str) -> Vec<(String, bool)> {
        let (succeeded, output, told) = self.run("hive_check", &[hive]);
        assert!(succeeded, "{told}");
        let layer = |line| {
            let layer: Value = serde_json::from_str(line).unwrap();
            (layer["name"].as_str().unwrap().to_owned(), layer["ok"] == true)
        };
        output.lines().map(layer).collect()
    }

    /// Runs an operation in the background, and returns what it prints, an event a line.
    fn begin(&self, operation: &str, fields: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut command = self.command(operation, fields);
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

impl Drop for Queen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The hives that she has started go on without her. Theirs are the processes that have a
        // directory of this test among their arguments.
        let of_this_test = self.directory.path().to_str().unwrap().to_owned();
        let Ok(listed) = Command::new("ps").args(["-e", "-ww", "-o", "pid=,args="]).output() else {
            return;
        };
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Some((pid, arguments)) = line.trim().split_once(' ')
                && arguments.contains(" serve ")
                && arguments.contains(&of_this_test)
            {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
        }
    }
}

fn model() -> PathBuf {
    let models = std::env::var_os("SKEP_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"),
        PathBuf::from,
    );
    let file = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "{} is missing: run `./x models`", file.display());
    file.canonicalize().unwrap()
}

#[test]
fn a_queen_and_two_hives_serve_a_model_and_outlive_a_death() {
    let (queen, sshd) = Queen::start();
    let hive = format!("hive_id={ALIAS}");

    // Two hives: one over SSH, which gets the program, and one on this machine.
    let (created, _) = queen.call("hive_create", &[&format!("ssh={ALIAS}")]);
    assert_eq!((&created["id"], &created["state"]), (&json!(ALIAS), &json!("offline")));
    queen.call("hive_create", &["id=here"]);
    let (started, told) = queen.call("hive_start", &[&hive]);
    assert_eq!(started["state"], "online");
    for stage in
        ["getting to", "copying the program", "starting the server", "it listens", "online"]
    {
        assert!(told.contains(stage), "{stage:?} isn't told: {told}");
    }
    assert!(sshd.home.join(".local/share/skep/bin/skep").is_file());
    queen.call("hive_start", &["hive_id=here"]);
    let (again, told) = queen.call("hive_start", &[&hive]);
    assert!(again["state"] == "online" && told.contains("online already"), "{told}");
    let layers = ["ssh", "program", "tunnel", "http", "heartbeat", "version"];
    assert_eq!(queen.check(&hive), layers.map(|layer| (layer.to_owned(), true)));

    // A model there, asked by its hive's name and without.
    let path = format!("path={}", model().display());
    queen.call("model_import", &[&path, "id=smollm2", &hive]);
    let ask = ["model=smollm2", "prompt=The capital of France is", "max_tokens=8", "temperature=0"];
    let (answer, told) = queen.call("infer", &[&ask[..], &[&hive]].concat());
    assert!(answer.as_str().unwrap().starts_with(" Paris"), "{answer}");
    assert!(!told.contains("placed on"), "{told}");
    let (answer, told) = queen.call("infer", &ask);
    assert!(answer.as_str().unwrap().starts_with(" Paris"), "{answer}");
    assert!(told.contains(&format!("placed on `{ALIAS}`: the model is ")), "{told}");

    // The hive dies in mid-answer.
    let (status, _) = queen.call("hive_status", &[&hive]);
    let pid = status["heartbeat"]["pid"].to_string();
    let story = ["model=smollm2", "prompt=Once upon a time", "max_tokens=4000"];
    let (mut infer, mut lines) = queen.begin("infer", &[&story[..], &[&hive]].concat());
    let is_token = |line: &String| line.contains("\"text\"");
    assert_eq!(lines.by_ref().map_while(Result::ok).filter(is_token).take(3).count(), 3);
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let last = lines.map_while(Result::ok).last().unwrap();
    assert!(last.contains("hive-lost") && last.contains(ALIAS), "{last}");
    assert!(!infer.wait().unwrap().success());

    // Started again, it has what it had; nothing is copied.
    let (_, told) = queen.call("hive_start", &[&hive]);
    assert!(!told.contains("copying"), "{told}");
    let (models, _) = queen.call("model_list", &[&hive]);
    assert_eq!(models[0]["id"], "smollm2");
    let (_, told) = queen.call("infer", &ask);
    assert!(told.contains(&format!("placed on `{ALIAS}`")), "{told}");

    let (succeeded, _, told) = queen.run("hive_delete", &["id=here"]);
    assert!(!succeeded && told.contains("hive-started"), "{told}");
    for hive in [hive.as_str(), "hive_id=here"] {
        let (stopped, told) = queen.call("hive_stop", &[hive]);
        assert!(stopped["state"] == "offline" && told.contains("it's gone"), "{stopped} {told}");
    }
    queen.call("hive_delete", &["id=here"]);
    let (succeeded, _, told) = queen.run("echo", &["value=1", &hive]);
    assert!(!succeeded && told.contains("hive-offline"), "{told}");
}

#[test]
fn what_is_wrong_on_the_way_is_named() {
    let (queen, _sshd) = Queen::start();
    queen.call("hive_create", &["id=lost", "ssh=no-such-alias.invalid"]);
    let (succeeded, _, told) = queen.run("hive_start", &["hive_id=lost"]);
    assert!(!succeeded && told.contains("ssh-failed"), "{told}");
    assert!(told.contains("no-such-alias.invalid"), "it doesn't say who: {told}");
    assert_eq!(queen.check("hive_id=lost"), [("ssh".to_owned(), false)]);
    queen.call("hive_create", &["id=far", "host=192.0.2.1"]);
    let (succeeded, _, told) = queen.run("hive_start", &["hive_id=far"]);
    assert!(!succeeded && told.contains("no-ssh"), "{told}");
    let (succeeded, _, told) = queen.run("hive_stop", &["hive_id=far"]);
    assert!(!succeeded && told.contains("not-started-here"), "{told}");
    let (succeeded, _, told) = queen.run("hive_start", &["hive_id=localhost"]);
    assert!(!succeeded && told.contains("can't be started"), "{told}");
}
