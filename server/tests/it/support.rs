//! Servers as child processes, and clients of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

/// How long a server may take to start, or anything else that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where servers keep what they start themselves, in their directory.
const HOME: &str = "home";

/// A server that runs, with a data directory of its own. It's killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    lines: Receiver<String>,
    /// What it has logged so far.
    log: Vec<String>,
    pub(crate) http: Client,
    program: PathBuf,
    flags: Vec<String>,
    data: tempfile::TempDir,
}

/// The example server with the operations that misbehave.
pub(crate) fn program() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    let path = path.join("examples/misbehaving");
    assert!(path.is_file(), "{} is missing: `cargo build --examples`", path.display());
    path
}

/// `program`, without what the environment of the tests would tell it.
pub(crate) fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKEP_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// Starts a server that has `directory`, and the lines of its log.
fn spawn(
    program: &Path,
    directory: &Path,
    listen: &str,
    flags: &[String],
) -> (Child, Receiver<String>) {
    let mut child = command(program.to_owned())
        .args(["serve", "--listen", listen, "--config"])
        .arg(directory.join("skep.toml"))
        .arg("--data-dir")
        .arg(directory.join("data"))
        .args(flags)
        // Where it keeps what it starts itself.
        .env("XDG_DATA_HOME", directory.join(HOME))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let lines = log_lines(&mut child);
    (child, lines)
}

/// The lines of a server's log as they come, to its end.
pub(crate) fn log_lines(child: &mut Child) -> Receiver<String> {
    let stderr = child.stderr.take().expect("it was piped");
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

impl Server {
    /// Starts the example server with more flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::configured("", flags)
    }

    /// Starts the example server with a configuration file.
    pub(crate) fn configured(config: &str, flags: &[&str]) -> Self {
        Self::of(program(), config, flags)
    }

    /// Starts the stock server.
    #[cfg(feature = "stock")]
    pub(crate) fn stock() -> Self {
        Self::stock_with("")
    }

    /// Starts the stock server with a configuration file.
    #[cfg(feature = "stock")]
    pub(crate) fn stock_with(config: &str) -> Self {
        Self::of(env!("CARGO_BIN_EXE_skep").into(), config, &[])
    }

    fn of(program: PathBuf, config: &str, flags: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(data.path().join("skep.toml"), config).expect("it's written");
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (child, lines) = spawn(&program, data.path(), "127.0.0.1:0", &flags);
        let (url, log) = (String::new(), Vec::new());
        let mut server = Self { child, url, lines, log, http: client(), program, flags, data };
        let line = server.wait_for_line("listening on http://");
        let at = line.find("http://").expect("the line has the URL");
        server.url = line[at..].chars().take_while(|c| !c.is_whitespace() && *c != '"').collect();
        server
    }

    /// Waits for its end, and starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.child.wait().expect("it ends");
        let address = self.address().to_owned();
        (self.child, self.lines) = spawn(&self.program, self.data.path(), &address, &self.flags);
        // Without the old server's connections.
        self.http = client();
        self.wait_for_line("listening on http://");
    }

    /// The same as the stock server.
    #[cfg(feature = "stock")]
    pub(crate) fn restart_as_stock(&mut self) {
        self.program = env!("CARGO_BIN_EXE_skep").into();
        self.restart();
    }

    /// The first line of the log, from now on, that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with `{text}` in the server's log:\n{}", self.log.join("\n"));
            };
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Whether a line that has been read contains `text`.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    /// Its data directory.
    #[cfg(feature = "stock")]
    pub(crate) fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Host and port, for requests that are written by hand.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where it keeps what it starts itself.
    #[cfg(feature = "stock")]
    pub(crate) fn home(&self) -> PathBuf {
        self.data.path().join(HOME)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    pub(crate) async fn fetch(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.url)).send().await.expect("an answer")
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.fetch(path).await.json().await.expect("JSON")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.http.post(format!("{}{path}", self.url)).json(body).send().await.expect("an answer")
    }

    /// Posts with one more header.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        (name, value): (&'static str, &str),
        body: &Value,
    ) -> Response {
        let request = self.http.post(format!("{}{path}", self.url)).header(name, value);
        request.json(body).send().await.expect("an answer")
    }

    /// Makes a job and returns its id.
    pub(crate) async fn job(&self, operation: &str, mut input: Value) -> String {
        input["operation"] = operation.into();
        let response = self.post("/v1/jobs", &input).await;
        assert_eq!(response.status(), 201);
        let created: Value = response.json().await.expect("JSON");
        created["job_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn cancel(&self, id: &str) -> Response {
        let url = format!("{}/v1/jobs/{id}", self.url);
        self.http.delete(url).send().await.expect("an answer")
    }

    /// A job's stream, after an event.
    pub(crate) async fn stream(&self, id: &str, after: u64) -> Response {
        let url = format!("{}/v1/jobs/{id}/stream", self.url);
        let request = self.http.get(url).header("last-event-id", after.to_string());
        request.send().await.expect("an answer")
    }

    /// A job's whole log.
    pub(crate) async fn log(&self, id: &str) -> String {
        self.stream(id, 0).await.text().await.expect("the stream ends")
    }

    /// Waits for a job's end, and returns the job.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let job = self.json(&format!("/v1/jobs/{id}?wait=30s")).await;
        assert!(job["ended_at"].is_string(), "the job has not ended: {job}");
        job
    }

    /// Whether an `echo` is served promptly.
    pub(crate) async fn echo(&self) -> Duration {
        let begun = std::time::Instant::now();
        let answer = self.post("/v1/operations/echo", &json!({ "value": 1, "count": 3 })).await;
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({ "count": 3 }));
        begun.elapsed()
    }

    /// Runs an operation from the command line in the background, and returns that behind the first
    /// line of its output, which is JSON.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let mut run = command(program())
            .arg("run")
            .args(arguments)
            .arg("--json")
            .env("SKEP_URL", &self.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut out = BufReader::new(run.stdout.take().expect("it was piped"));
        assert!(out.read_line(&mut String::new()).expect("it's text") > 0, "it says nothing");
        (run, out)
    }

    /// Runs the command line against this server.
    pub(crate) fn skep(&self, arguments: &[&str]) -> Output {
        command(program())
            .args(arguments)
            .env("SKEP_URL", &self.url)
            .output()
            .expect("the command runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command wrote to standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An event as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    pub(crate) event: String,
    pub(crate) data: String,
}

/// Reads frames by the rules of WHATWG HTML, 9.2.6; what isn't ended by an empty line is no frame.
pub(crate) fn frames(text: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find("\n\n") {
        let mut frame = Frame { id: 0, event: "message".to_owned(), data: String::new() };
        for line in rest[..end].lines() {
            match line.split_once(": ") {
                Some(("id", value)) => frame.id = value.parse().expect("a number"),
                Some(("event", value)) => value.clone_into(&mut frame.event),
                Some(("data", value)) => value.clone_into(&mut frame.data),
                _ => {}
            }
        }
        if !frame.data.is_empty() {
            frames.push(frame);
        }
        rest = &rest[end + 2..];
    }
    frames
}
