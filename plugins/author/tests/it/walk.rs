//! The first minutes of an author, as they're told in the guide: three commands to a streamed answer,
//! and a change that is served as soon as it's saved.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, lock_target, run, skep};

/// `skep dev`, with what it has said. It's ended when dropped.
struct Dev {
    process: Child,
    address: String,
    lines: Receiver<String>,
}

impl Dev {
    /// Starts it on a port that is free.
    fn start(directory: &Path) -> Self {
        let mut command = skep(directory);
        command.args(["dev", "--listen", "127.0.0.1:0"]).env("NO_COLOR", "1");
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(process.stderr.take().expect("it was piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let mut dev = Self { process, address: String::new(), lines };
        let told = dev.until("answers once it's built");
        let (_, address) = told.split_once("http://").expect("it says where");
        dev.address.extend(address.split_whitespace().next());
        dev
    }

    /// What it says up to a line that contains `text`.
    fn until(&self, text: &str) -> String {
        let mut told = String::new();
        while !told.lines().next_back().is_some_and(|line| line.contains(text)) {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("`skep dev` does not say `{text}`:\n{told}");
            };
            told.push_str(&line);
            told.push('\n');
        }
        told
    }

    /// What a server says to a request, as curl is told to make it.
    fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut curl = Command::new("curl");
        let url = format!("http://{}{path}", self.address);
        run(curl.args(["-sS", "-f", "-N", &url]).args(arguments)).stdout()
    }

    /// The words that the operation streams.
    fn shout(&self) -> Vec<String> {
        let text = ["-H", "Accept: text/event-stream", "--json", r#"{"text": "good morning"}"#];
        words(&self.curl("/v1/operations/shout", &text))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it's there");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The output events of a stream: those that have no name.
fn words(stream: &str) -> Vec<String> {
    let words = stream.split("\n\n").filter(|event| !event.contains("event:"));
    let words = words.filter_map(|event| event.split_once("data: "));
    words.map(|(_, word)| word.trim_matches('"').to_owned()).collect()
}

/// Replaces a text in a file, which has it.
fn edit(file: &Path, (old, new): (&str, &str)) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "`{old}` is not in {text}");
    fs::write(file, text.replace(old, new)).unwrap();
}

#[test]
fn three_commands_to_a_streamed_answer_and_a_change_is_served_when_it_is_saved() {
    let _target = lock_target();
    let home = tempfile::tempdir().unwrap();

    // $ skep new plugin shout
    let next = run(skep(home.path()).args(["new", "plugin", "shout"])).stdout();
    let shout = home.path().join("shout");

    // $ cd shout && skep dev
    let begun = Instant::now();
    let mut dev = Dev::start(&shout);

    // $ curl -N ..., as `skep new` has said. It waits for the build, and is answered.
    let at = next.find("curl -N").expect("it says how to ask");
    let asked = next[at..].split("\n\n").next().unwrap().replace("127.0.0.1:7833", &dev.address);
    let answer = run(Command::new("sh").args(["-c", &asked])).stdout();
    assert_eq!(words(&answer), ["good!", "morning!"], "{answer}");
    println!("from `skep dev` to the first answer: {:.1} s", begun.elapsed().as_secs_f64());
    dev.until("listening on");

    // Jobs that the next server is to have: one that has run, one that waits for its time.
    let jobs = dev.curl("/v1/jobs", &[]);
    let ran = jobs.split('"').skip_while(|word| *word != "job_id").nth(2).unwrap().to_owned();
    let later = ["-H", "Skep-Run-At: +1h", "--json", r#"{"operation": "shout", "text": "later"}"#];
    let waits = dev.curl("/v1/jobs", &later);
    let waits = waits.split('"').skip_while(|word| *word != "job_id").nth(2).unwrap().to_owned();

    // A change, saved.
    let source = shout.join("src/lib.rs");
    let saved = Instant::now();
    edit(&source, (r#""!".to_owned()"#, r#""?".to_owned()"#));
    dev.until("listening on");
    assert_eq!(dev.shout(), ["good?", "morning?"]);
    println!("from saving a change to its answer: {:.1} s", saved.elapsed().as_secs_f64());

    // The jobs are there, the one that ran with its log.
    let log = dev.curl(&format!("/v1/jobs/{ran}/stream"), &[]);
    assert_eq!(words(&log), ["good!", "morning!"]);
    let waiting = dev.curl(&format!("/v1/jobs/{waits}"), &[]);
    assert!(waiting.contains(r#""state":"scheduled""#), "{waiting}");

    // A mistake: the compiler's words, and the old server goes on.
    edit(&source, ("let mut words = 0;", "let mut words = ;"));
    let told = dev.until("the old server goes on");
    assert!(told.contains("error: expected expression, found `;`"), "{told}");
    assert!(told.contains("skep dev: plugin `shout` ("), "{told}");
    assert_eq!(dev.shout(), ["good?", "morning?"]);

    // Mended, with a configuration.
    fs::write(shout.join("skep.toml"), "[plugins.shout]\nending = \".\"\n").unwrap();
    edit(&source, ("let mut words = ;", "let mut words = 0;"));
    dev.until("listening on");
    assert_eq!(dev.shout(), ["good.", "morning."]);

    // Ctrl-C, as a terminal sends it.
    dev.signal(Signal::INT);
    assert!(dev.process.wait().unwrap().success());
    assert!(TcpStream::connect(&dev.address).is_err(), "someone still listens");
}

#[test]
fn a_server_does_not_outlive_a_skep_dev_that_is_killed() {
    let _target = lock_target();
    let home = tempfile::tempdir().unwrap();
    run(skep(home.path()).args(["new", "plugin", "shout"])).stdout();
    let dev = Dev::start(&home.path().join("shout"));
    dev.until("listening on");
    dev.signal(Signal::KILL);
    dev.until("stopped");
}

#[test]
fn the_help_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let help = run(skep(home.path()).args(["dev", "--help"])).stdout();
    insta::assert_snapshot!("help", help);
}

#[test]
fn a_directory_without_a_plugin_is_told_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let refusal = run(skep(home.path()).args(["dev", "--listen", "127.0.0.1:0"])).refusal();
    assert!(refusal.contains("`skep new plugin NAME`"), "{refusal}");
    fs::write(home.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    let refusal = run(skep(home.path()).args(["dev", "--listen", "127.0.0.1:0"])).refusal();
    assert!(refusal.contains("has no [package]"), "{refusal}");
}
