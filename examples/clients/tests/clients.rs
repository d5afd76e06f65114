//! Each client against the server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A server, ended with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skep-clients"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.contains("http://")).expect("it listens");
        let url = line[line.find("http://").unwrap()..].to_owned();
        Self { child, url }
    }

    fn run(&self, program: &str, client: &str, arguments: &[&str]) -> Output {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join(client);
        let mut command = Command::new(program);
        command.arg(client).arg(&self.url).args(arguments);
        command.output().unwrap_or_else(|error| panic!("{program} is missing: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn curl_sees_a_job_from_its_making_to_its_end() {
    let server = Server::start();
    let output = server.run("sh", "curl.sh", &[]);
    let said = text(output.stdout);
    assert!(output.status.success(), "{said}{}", text(output.stderr));
    assert!(said.starts_with("{\"count\":1}\n"), "{said}");
    // All of it, and what comes after event 3.
    let hellos = |text: &str| text.matches("data: \"hello\"").count();
    assert_eq!((hellos(&said), said.matches("event: end").count()), (4, 2), "{said}");
    assert!(said.ends_with("cancelled\n"), "{said}");
}

#[test]
fn python_follows_a_job_and_tells_its_result() {
    let server = Server::start();
    let output = server.run("python3", "follow.py", &["echo", r#"{"value": "é", "count": 2}"#]);
    assert_eq!(text(output.stdout), "\"\\u00e9\"\n\"\\u00e9\"\nresult: {\"count\": 2}\n");
    assert!(output.status.success(), "{}", text(output.stderr));
}

#[test]
fn python_tells_all_that_is_wrong_with_an_input() {
    let server = Server::start();
    let refused = server.run("python3", "follow.py", &["echo", r#"{"valeu": 1, "count": -1}"#]);
    let said = text(refused.stderr);
    assert!(!refused.status.success());
    for error in ["/valeu is not a field, did you mean `value`?", "/value is required", "/count "] {
        assert!(said.contains(error), "{said}");
    }
}

#[test]
fn a_browser_follows_a_job_by_its_event_source() {
    for variable in ["CHROMIUM", "BROWSER_TEST_MODULES"] {
        let is_set = std::env::var_os(variable).is_some();
        assert!(is_set, "{variable} is not set: run `./x test`, which gets a browser");
    }
    let server = Server::start();
    let output = server.run("node", "tests/page.cjs", &[]);
    assert!(output.status.success(), "{}", text(output.stderr));
    assert_eq!(text(output.stdout), "hi\nhi\nhi\nsucceeded\n");
}
