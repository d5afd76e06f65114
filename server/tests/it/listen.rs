//! Listening on a socket that is handed over.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use crate::support::{PATIENCE, command, log_lines, program, stderr};

/// A server that is handed `stdin`, and its log. It's killed when dropped.
struct Handed {
    child: Child,
    lines: Receiver<String>,
    _data: tempfile::TempDir,
}

impl Handed {
    fn start(mut serve: Command, stdin: impl Into<Stdio>) -> Self {
        let data = tempfile::tempdir().unwrap();
        serve.args(["serve", "--listen", "stdin", "--data-dir"]).arg(data.path());
        let mut child = serve.stdin(stdin).stderr(Stdio::piped()).spawn().unwrap();
        let lines = log_lines(&mut child);
        Self { child, lines, _data: data }
    }

    /// The log up to a line that contains `text`.
    fn log_until(&self, text: &str) -> String {
        let mut log = Vec::new();
        while log.last().is_none_or(|line: &String| !line.contains(text)) {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with `{text}` in the server's log:\n{}", log.join("\n"));
            };
            log.push(line);
        }
        log.join("\n")
    }

    fn stop(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket, and a copy of it for a server.
fn socket(address: &str) -> (TcpListener, OwnedFd) {
    let socket = TcpListener::bind(address).unwrap();
    let copy = socket.try_clone().unwrap();
    (socket, copy.into())
}

#[test]
fn connections_to_a_socket_that_is_handed_over_wait_from_one_server_to_the_next() {
    let (socket, first) = socket("127.0.0.1:0");
    let address = socket.local_addr().unwrap();
    let mut server = Handed::start(command(program()), first);
    let log = server.log_until("listening on");
    assert!(log.contains(&format!("listening on http://{address}")), "{log}");
    server.stop();
    assert!(server.child.wait().unwrap().success());

    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let _server = Handed::start(command(program()), OwnedFd::from(socket));
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_server_ends_with_the_process_that_handed_it_its_socket() {
    let (_socket, copy) = socket("127.0.0.1:0");
    // A shell gives what it runs in the background another standard input, unless it's told.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec 3<&0; "$@" <&3 & wait"#, "sh"]).arg(program());
    let mut parent = Handed::start(shell, copy);
    parent.log_until("listening on");
    parent.child.kill().unwrap();
    parent.log_until("socket is gone");
    parent.log_until("stopped");
}

#[test]
fn a_standard_input_that_is_no_socket_or_an_exposed_one_is_refused() {
    let everyone = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = everyone.local_addr().unwrap().to_string();
    let connection = TcpStream::connect(("127.0.0.1", everyone.local_addr().unwrap().port()));
    for (stdin, says) in [
        (Stdio::null(), "it's no TCP socket that listens"),
        (Stdio::piped(), "it's no TCP socket that listens"),
        (OwnedFd::from(connection.unwrap()).into(), "it's no TCP socket that listens"),
        (OwnedFd::from(everyone).into(), &*format!("refusing to listen on {address}")),
    ] {
        let mut serve = command(program());
        let refused = serve.args(["serve", "--listen", "stdin"]).stdin(stdin).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
    }
}

#[test]
fn an_address_that_is_none_is_refused_with_an_example() {
    let data = tempfile::tempdir().unwrap();
    let mut serve = command(program());
    serve.args(["serve", "--data-dir"]).arg(data.path());
    let refused = serve.env("SKEP_SERVER__LISTEN", "stdni").output().unwrap();
    assert!(stderr(&refused).contains("like `127.0.0.1:7833`, or `stdin`"), "{}", stderr(&refused));
}
