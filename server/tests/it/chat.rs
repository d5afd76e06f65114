//! `skep up` and `skep chat`, as someone types into them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;

use crate::stock::model;
use crate::support::{PATIENCE, Server, command, stderr, stdout};

/// Runs the stock program with `lines` as what is typed.
fn typed(command: &mut Command, lines: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// The stock program with someone who could type on. It's killed when dropped.
struct Typing {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Typing {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let stdin = child.stdin.take().expect("it was piped");
        let stdout = child.stdout.take().expect("it was piped");
        Self { child, stdin, stdout }
    }

    /// Types a line, and waits until it's read.
    fn ask(&mut self, question: &str) {
        writeln!(self.stdin, "{question}").expect("it reads");
        let read = || (ioctl_fionread(&self.stdin).expect("it's a pipe") == 0).then_some(());
        wait_for(read).expect("it reads");
    }

    /// Sends it a signal, and returns the code that it ends with.
    fn end_by(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs").success()
        );
        let ended = wait_for(|| self.child.try_wait().expect("it's a child"));
        ended.unwrap_or_else(|| panic!("it goes on after SIG{signal}")).code()
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What there is within [`PATIENCE`].
fn wait_for<T>(mut there_is: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(it) = there_is() {
            return Some(it);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// A connection to the server, if there is one.
fn connection(url: &str) -> Option<TcpStream> {
    TcpStream::connect(url.trim_start_matches("http://")).ok()
}

fn skep() -> Command {
    command(env!("CARGO_BIN_EXE_skep").into())
}

/// An address that nobody listens on.
fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("it's bound"))
}

#[test]
fn up_starts_a_server_gets_a_model_answers_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().expect("a directory");
    let url = free_url();
    let up = |model: &[&str], lines: &str| {
        let mut up = skep();
        up.args(["up", "--max-tokens", "48", "--server", &url, "--data-dir"])
            .arg(data.path())
            .args(model);
        typed(up.current_dir(data.path()), lines)
    };
    let file = model();
    let answered =
        up(&["--model", file.to_str().expect("a path")], "What is the capital of France?\n");
    assert!(answered.status.success(), "{}", stderr(&answered));
    assert!(stdout(&answered).trim().len() > 3, "{answered:?}");
    // The second time there's one model, and so no question.
    let again = up(&[], "Hi\n/exit\nnever read\n");
    assert!(again.status.success() && !stdout(&again).is_empty(), "{again:?}");
    assert!(std::net::TcpStream::connect(url.trim_start_matches("http://")).is_err());
    let nothing = up(&["--model", "no-such-model"], "");
    assert!(!nothing.status.success());
    assert!(
        stderr(&nothing).contains("`no-such-model` is no model that the server has"),
        "{nothing:?}"
    );
}

#[test]
fn a_machine_without_a_model_asks_where_there_is_one() {
    let data = tempfile::tempdir().expect("a directory");
    let mut up = skep();
    up.args(["up", "--max-tokens", "48", "--server", &free_url(), "--data-dir"]).arg(data.path());
    let asked = typed(up.current_dir(data.path()), "");
    assert!(stderr(&asked).contains("no model was named"), "{asked:?}");
    for (answer, told) in [("\n", "no model was named"), ("9\nHi\n", "there is no number 9")] {
        let mut up = skep();
        up.args(["up", "--server", &free_url(), "--data-dir"]).arg(data.path());
        let asked = typed(up.current_dir(data.path()), answer);
        assert!(stderr(&asked).contains(told), "{asked:?}");
    }
    // What is answered is taken for its place.
    let mut up = skep();
    up.args(["up", "--max-tokens", "48", "--server", &free_url(), "--data-dir"]).arg(data.path());
    let answered = typed(up.current_dir(data.path()), &format!("{}\nHi\n", model().display()));
    assert!(answered.status.success() && !stdout(&answered).is_empty(), "{answered:?}");
}

#[test]
fn a_machine_without_a_model_gets_one_that_is_proposed() {
    // A hub that has one file by every name.
    let hub = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", hub.local_addr().expect("it's bound"));
    let asked = std::thread::spawn(move || {
        let (mut client, _) = hub.accept().expect("someone asks");
        let mut lines = BufReader::new(client.try_clone().expect("a handle")).lines();
        let asked = lines.next().expect("a request").expect("text");
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let file = std::fs::read(model()).expect("the model");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
        client.write_all(head.as_bytes()).and_then(|()| client.write_all(&file)).expect("it reads");
        asked
    });
    let data = tempfile::tempdir().expect("a directory");
    let mut up = skep();
    up.args(["up", "--max-tokens", "48", "--server", &free_url(), "--data-dir"]).arg(data.path());
    up.env("HF_ENDPOINT", endpoint).current_dir(data.path());
    let answered = typed(&mut up, "1\nHi\n");
    assert!(answered.status.success() && !stdout(&answered).is_empty(), "{answered:?}");
    let asked = asked.join().expect("it serves");
    assert!(asked.starts_with("GET /HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/resolve/"), "{asked}");
}

#[tokio::test]
async fn a_conversation_remembers_what_was_said_until_it_begins_anew() {
    let server = Server::stock();
    let chat = |arguments: &[&str], lines: &str| {
        let mut chat = skep();
        typed(
            chat.args(["chat", "--max-tokens", "4"]).args(arguments).env("SKEP_URL", &server.url),
            lines,
        )
    };
    let none = chat(&[], "Hi\n");
    assert!(stderr(&none).contains("there is no model yet"), "{none:?}");
    for id in ["one", "two"] {
        let input = serde_json::json!({ "path": model(), "id": id });
        assert_eq!(server.post("/v1/operations/model_import", &input).await.status(), 200);
    }
    let several = chat(&[], "Hi\n");
    assert!(stderr(&several).contains("name one: one, two"), "{several:?}");
    let talked = chat(&["one"], "Hi\n\nAnd you?\n/new\nHi again\n");
    assert!(talked.status.success(), "{talked:?}");
    let jobs = server.json("/v1/jobs?operation=infer").await;
    let mut said = Vec::new();
    for job in jobs["jobs"].as_array().expect("a list") {
        let job =
            server.json(&format!("/v1/jobs/{}", job["job_id"].as_str().expect("an id"))).await;
        let messages = job["input"]["messages"].as_array().expect("messages").clone();
        said.push(
            messages
                .iter()
                .map(|one| one["role"].as_str().expect("a role").to_owned())
                .collect::<Vec<_>>(),
        );
    }
    // The newest first.
    assert_eq!(said, [vec!["user"], vec!["user", "assistant", "user"], vec!["user"]]);
    let unknown = chat(&["none"], "Hi\n");
    assert!(!unknown.status.success() && stderr(&unknown).contains("unknown-model"), "{unknown:?}");
}

#[test]
fn up_that_is_told_to_stop_stops_its_server() {
    let data = tempfile::tempdir().expect("a directory");
    let url = free_url();
    let mut up = skep();
    up.args(["up", "--server", &url, "--data-dir"]).arg(data.path()).args(["--model"]).arg(model());
    let mut up = Typing::start(up.current_dir(data.path()));
    up.ask("Tell me a story");
    up.stdout.read_exact(&mut [0]).expect("it answers");
    assert_eq!(up.end_by("TERM"), Some(1));
    assert!(connection(&url).is_none());
}

#[test]
fn a_signal_at_the_prompt_ends_up_and_its_server() {
    let data = tempfile::tempdir().expect("a directory");
    for (signal, code) in [("INT", 130), ("TERM", 1), ("HUP", 1)] {
        let url = free_url();
        let mut up = skep();
        up.args(["up", "--server", &url, "--model"]).arg(model());
        let mut up = Typing::start(up.arg("--data-dir").arg(data.path()).current_dir(data.path()));
        up.ask("");
        assert_eq!(up.end_by(signal), Some(code), "{signal}");
        assert!(connection(&url).is_none(), "{signal}");
    }
}

#[test]
fn ctrl_c_where_up_asks_for_a_model_ends_it_and_its_server() {
    let data = tempfile::tempdir().expect("a directory");
    let url = free_url();
    let mut up = skep();
    up.args(["up", "--server", &url, "--data-dir"]).arg(data.path());
    let mut up = Typing::start(up.current_dir(data.path()));
    wait_for(|| connection(&url)).expect("the server starts");
    assert_eq!(up.end_by("INT"), Some(130));
    assert!(connection(&url).is_none());
}

#[test]
fn ctrl_c_while_its_server_starts_ends_up_and_the_server() {
    let data = tempfile::tempdir().expect("a directory");
    let at = |name: &str| data.path().join(name);
    // The server waits for what an operation says of itself.
    std::fs::create_dir(at("operations")).expect("it's made");
    std::fs::write(at("skep.toml"), "[plugins.exec]\ndir = \"operations\"").expect("it's written");
    let slow = at("operations/slow");
    std::fs::write(
        &slow,
        "#!/bin/sh\necho $PPID > ../pid && mv ../pid ../started && exec sleep 60",
    )
    .expect("it's written");
    std::fs::set_permissions(slow, PermissionsExt::from_mode(0o755)).expect("it's ours");
    let mut up = skep();
    up.args(["up", "--server", &free_url(), "--data-dir"]).arg(at("data"));
    let mut up = Typing::start(up.current_dir(data.path()));
    let server = wait_for(|| std::fs::read_to_string(at("started")).ok()).expect("it starts");
    assert_eq!(up.end_by("INT"), Some(130));
    assert!(!Path::new("/proc").join(server.trim()).exists());
}

#[test]
fn ctrl_c_ends_the_wait_for_jobs_of_others_when_the_conversation_is_over() {
    let data = tempfile::tempdir().expect("a directory");
    let url = free_url();
    let mut up = skep();
    up.args(["up", "--server", &url, "--model"]).arg(model());
    up.arg("--data-dir").arg(data.path()).env("SKEP_SERVER__DRAIN", "10m");
    let mut up = Typing::start(up.current_dir(data.path()));
    up.ask("");
    let echo = |arguments: &[&str]| {
        let mut echo = skep();
        echo.args(["run", "--detach", "--server", &url, "echo", "value=1"]).args(arguments);
        echo.output().expect("it runs").status.success()
    };
    assert!(echo(&["count=1000", "interval_us=1000000"]));
    up.ask("/exit");
    wait_for(|| (!echo(&[])).then_some(())).expect("the server takes no more jobs");
    assert!(connection(&url).is_some());
    assert_eq!(up.end_by("INT"), Some(0));
    assert!(connection(&url).is_none());
}
