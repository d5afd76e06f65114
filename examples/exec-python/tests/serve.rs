//! The server as a process, in the example's folder, over its public face.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skep-exec-python");

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    process: Child,
    url: String,
    _log: BufReader<std::process::ChildStderr>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--store", "memory"])
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it does not start");
        }
        let url = line[line.find("http://").unwrap()..].chars();
        let url = url.take_while(|c| !c.is_whitespace() && *c != '\u{1b}').collect();
        Self { process, url, _log: log }
    }

    fn skep(&self, arguments: &[&str]) -> Command {
        let mut skep = Command::new(PROGRAM);
        skep.args(arguments).env("SKEP_URL", &self.url);
        skep
    }

    fn says(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.skep(arguments).output().unwrap().stdout).unwrap()
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn it_serves_what_the_file_and_the_folder_have() {
    let server = Server::start(&[]);
    let operations = server.says(&["operations"]);
    let names: Vec<_> = operations.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["countdown", "disk_free", "word_count"]);
    assert!(server.says(&["run", "disk_free"]).starts_with("Filesystem"));
    let counted = server.says(&["run", "word_count", "text=to be or not to be", "--json"]);
    assert!(counted.contains(r#"{"count":2,"word":"be"}"#), "{counted}");
}

/// Whether there's a process with `marker` among its arguments, `ps` itself aside.
fn is_running(marker: &str) -> bool {
    let ps = Command::new("ps").args(["-eo", "stat=,args="]).output();
    let ps = String::from_utf8(ps.expect("this test needs `ps`").stdout).unwrap();
    ps.lines().any(|line| !line.starts_with('Z') && line.contains(marker))
}

#[test]
fn the_programs_of_a_server_that_is_killed_are_killed() {
    // Nobody else sleeps for so long.
    let marker = format!("sleep 9{:09}", std::process::id());
    let toml = Path::new(env!("CARGO_TARGET_TMPDIR")).join("killed.toml");
    let config = format!(
        "[plugins.exec.operations.wait]\nsummary = 'Wait.'\n\
         command = ['sh', '-c', 'trap \"\" TERM; {marker} & echo ready; wait; wait']\n"
    );
    std::fs::write(&toml, config).unwrap();
    let mut server = Server::start(&["--config", toml.to_str().unwrap()]);
    let mut run = server.skep(&["run", "wait"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready == "ready\n" && is_running(&marker));
    server.kill();
    let killed = Instant::now();
    while is_running(&marker) {
        assert!(killed.elapsed() < PATIENCE, "the program outlives its server");
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = run.kill();
    let _ = run.wait();
}
