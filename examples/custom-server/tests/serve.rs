//! The server as a process: what its README-sized `main.rs` gives.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skep-custom-server");

/// Ends the server with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_serves_the_plugins_that_it_names_and_no_others() {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let _server = Ended(child);
    let mut lines = log.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("listening on")).expect("it listens");
    let url: String = line[line.find("http://").unwrap()..]
        .chars()
        .take_while(|c| !c.is_whitespace() && *c != '\u{1b}')
        .collect();

    let skep = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).env("SKEP_URL", &url).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(skep(&["run", "hello", "name=Ada"]), "Hello,\nAda\n");
    let operations = skep(&["operations"]);
    let names: Vec<_> = operations.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["check", "echo", "hello", "status"]);
}
