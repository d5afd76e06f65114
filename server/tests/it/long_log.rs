//! A log that is larger than the server's memory may be, and its readers.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Response;
use serde_json::json;

use crate::support::Server;

/// The log: so many events of so many bytes, more than a gigabyte.
const EVENTS: u64 = 65_536;
const EVENT: usize = 16 * 1024;

/// How much memory the server may take for it and all of its readers, KiB.
const GROWTH: u64 = 64 * 1024;

/// Reads a log, and holds each byte against what must stand there.
struct Reader {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    value: String,
    /// The event that comes next, its frame, and how much of it has been read.
    next: u64,
    frame: Vec<u8>,
    read: usize,
}

impl Reader {
    /// A reader of an answer that begins after event `after`.
    fn new(answer: Response, after: u64) -> Self {
        assert_eq!(answer.status(), 200);
        let mut reader = Self {
            chunks: answer.bytes_stream().boxed(),
            value: value(),
            next: after + 1,
            frame: Vec::new(),
            read: 0,
        };
        reader.expect();
        reader
    }

    /// The frame of the event that comes next; none behind the last one.
    fn expect(&mut self) {
        let id = self.next;
        let frame = match id {
            1 => format!("id: 1\nevent: state\ndata: {}\n\n", r#"{"state":"running","attempt":1}"#),
            _ if id <= EVENTS + 1 => format!("id: {id}\ndata: \"{}\"\n\n", self.value),
            _ if id == EVENTS + 2 => format!(
                "id: {id}\nevent: end\ndata: {{\"state\":\"succeeded\",\"result\":{EVENTS}}}\n\n"
            ),
            _ => String::new(),
        };
        (self.frame, self.read) = (frame.into_bytes(), 0);
    }

    /// Reads until `event` has been read.
    async fn read_to(&mut self, event: u64) {
        while self.next <= event {
            let chunk = self.chunks.next().await.expect("there is more").expect("it comes whole");
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let wanted = &self.frame[self.read..];
                let length = wanted.len().min(rest.len());
                assert!(length > 0, "there is something behind the end");
                assert!(wanted[..length] == rest[..length], "event {} is another one", self.next);
                rest = &rest[length..];
                self.read += length;
                if self.read == self.frame.len() {
                    self.next += 1;
                    self.expect();
                }
            }
        }
    }

    /// Reads to the end, and sees that there is nothing behind it.
    async fn read_to_end(mut self) {
        self.read_to(EVENTS + 2).await;
        assert!(self.chunks.next().await.is_none());
    }
}

fn value() -> String {
    "0123456789abcdef".repeat(EVENT / 16)
}

/// A figure of the server's process in KiB, by its name in `/proc/PID/status`.
#[cfg(target_os = "linux")]
fn memory(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_a_gigabyte_takes_little_memory_and_reaches_every_reader_whole() {
    let server = Server::configured("[jobs]\nmax_log = \"2GiB\"", &[]);
    // What a first job costs is not the log's.
    server.echo().await;
    let before = memory(&server, "VmRSS");
    let job = server.job("emit_large", json!({ "count": EVENTS, "size": EVENT })).await;

    let mut stalled = Reader::new(server.stream(&job, 0).await, 0);
    stalled.read_to(1).await;
    let mut live = Reader::new(server.stream(&job, 0).await, 0);
    live.read_to(EVENTS / 2).await;
    let middle = Reader::new(server.stream(&job, EVENTS / 4).await, EVENTS / 4);
    tokio::join!(live.read_to_end(), middle.read_to_end());
    assert_eq!(server.ended(&job).await["state"], "succeeded");
    // It stood still while the log grew by a gigabyte.
    stalled.read_to_end().await;

    let peak = memory(&server, "VmHWM");
    assert!(peak < before + GROWTH, "it grew from {before} to {peak} KiB");
}
