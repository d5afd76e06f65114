//! The server as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_my-server");

/// Ends the server with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_serves_the_plugins_that_it_names() {
    // Where skep.toml is, but with a port and data of its own.
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(format!("{}/data", env!("CARGO_TARGET_TMPDIR")))
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let _server = Ended(child);
    let mut lines = log.lines().map_while(Result::ok);
    let line = lines
        .find(|line| line.contains("http://"))
        .expect("it listens");
    let url = &line[line.find("http://").unwrap()..];

    let run = ["run", "echo", "value=hello", "--server", url];
    let output = Command::new(PROGRAM).args(run).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
}
