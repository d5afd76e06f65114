//! Who is measured: Skep with each of its stores, and its peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::count::Counter;
use crate::server::Server;
use crate::work::tokens::Model;

/// The token that every event carries: 12 bytes of JSON.
pub(crate) const TOKEN: &str = "0123456789";

/// Starts llama.cpp's server.
const LLAMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/llama.py");

const CONFIG: &str = "skep.toml";

/// The limits of the default configuration are for one's own machine, not for a load test.
const LIMITS: &str = r#"
[server]
max_connections = 15000
[jobs]
max_log = "8GiB"
memory = "8GiB"
max_running = 15000
max_queued = 15000
max_kept = 10000000
max_stored = "64GiB"
"#;

/// Where the programs are, and where what they write goes.
pub(crate) struct Place {
    pub(crate) skep: PathBuf,
    pub(crate) custom: PathBuf,
    pub(crate) peers: PathBuf,
    /// llama.cpp's bindings for Python.
    pub(crate) llama: PathBuf,
    pub(crate) models: PathBuf,
    /// On a disk, not in memory: what is synced must be.
    pub(crate) scratch: PathBuf,
}

/// A server that does the work which is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// hyper alone, which keeps nothing: the limit.
    Floor,
    /// The same, which writes each event when it's asked for.
    Writing,
    /// axum's `Sse` over a channel, with a map of jobs: what one would write without Skep.
    Before,
    /// dropshot, with the same map.
    Dropshot,
    /// A subscription in jsonrpsee, over WebSocket: no jobs.
    Jsonrpsee,
    /// A tool that tells its progress, in rmcp: no jobs.
    Rmcp,
    /// Durable Streams, to which clients append: no jobs.
    DurableStreams(Mode),
    /// llama.cpp's server, which has this model: no jobs.
    LlamaCpp(Model),
    /// The stock build of Skep, with the store in memory.
    Memory,
    /// The stock build of Skep, with the store on the disk.
    Sqlite,
    /// The example of a custom server, with the store in memory.
    Custom,
    /// Skep with as many operations as its configuration says, with the store in memory.
    Many,
}

/// Where Durable Streams keeps what it's given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Memory,
    /// A file a stream, which each append syncs.
    File,
    /// A database, in which each append is a transaction.
    Acid,
}

/// A contender that runs, and its directory.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) contender: Contender,
    /// Goes when the server has gone.
    home: TempDir,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Writing => "writing floor",
            Self::Before => "before",
            Self::Dropshot => "dropshot",
            Self::Jsonrpsee => "jsonrpsee",
            Self::Rmcp => "rmcp",
            Self::DurableStreams(Mode::Memory) => "durable streams, memory",
            Self::DurableStreams(Mode::File) => "durable streams, file",
            Self::DurableStreams(Mode::Acid) => "durable streams, acid",
            Self::LlamaCpp(_) => "llama.cpp",
            Self::Memory => "skep",
            Self::Sqlite => "skep sqlite",
            Self::Custom => "custom server",
            Self::Many => "many operations",
        }
    }

    /// Starts it, in a directory of its own that is empty.
    pub(crate) fn start(self, place: &Place) -> Result<Running> {
        self.start_with(place, "")
    }

    /// Starts it with something more in its configuration, if it's Skep.
    pub(crate) fn start_with(self, place: &Place, config: &str) -> Result<Running> {
        let home = TempDir::with_prefix_in("server-", &place.scratch)?;
        fs::write(home.path().join(CONFIG), LIMITS.to_owned() + config)?;
        let server = Server::start(&mut self.command(place, home.path()))?;
        Ok(Running { server, contender: self, home })
    }

    fn command(self, place: &Place, home: &Path) -> Command {
        let mut command = Command::new(self.program(place));
        match self {
            Self::DurableStreams(mode) => {
                let mode = match mode {
                    Mode::Memory => "memory",
                    Mode::File => "file-durable",
                    Mode::Acid => "acid",
                };
                command.arg(mode).arg(home.join("data"));
            }
            Self::Writing => {
                command.arg("writing");
            }
            Self::LlamaCpp(model) => {
                command.arg(LLAMA).arg(model.path(place)).env("PYTHONPATH", &place.llama);
            }
            _ => {}
        }
        if let Some(store) = self.store() {
            command
                .args(["serve", "--listen", "127.0.0.1:0", "--store", store, "--config"])
                .arg(home.join(CONFIG))
                .arg("--data-dir")
                .arg(home.join("data"));
        }
        command
    }

    pub(crate) fn program(self, place: &Place) -> PathBuf {
        match self {
            Self::Floor | Self::Before | Self::Dropshot | Self::Jsonrpsee | Self::Rmcp => {
                place.peers.join(self.name())
            }
            Self::Writing => place.peers.join("floor"),
            Self::DurableStreams(_) => place.peers.join("durable_streams"),
            Self::LlamaCpp(_) => "python3".into(),
            Self::Memory | Self::Sqlite => place.skep.clone(),
            Self::Custom => place.custom.clone(),
            Self::Many => place.peers.join("many"),
        }
    }

    /// Where it keeps its jobs, if it's Skep.
    fn store(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Custom | Self::Many => Some("memory"),
            Self::Sqlite => Some("sqlite"),
            _ => None,
        }
    }

    /// Whether it's the stock build of Skep.
    pub(crate) fn is_stock(self) -> bool {
        matches!(self, Self::Memory | Self::Sqlite)
    }

    /// Whether what it has been given is there after a restart.
    pub(crate) fn is_durable(self) -> bool {
        matches!(self, Self::Sqlite | Self::DurableStreams(Mode::File | Mode::Acid))
    }

    /// The request for `job`.
    pub(crate) fn job(self, job: &Job) -> Bytes {
        match self {
            Self::Jsonrpsee => {
                let input = json!([TOKEN, job.events, job.interval_us]);
                json!({ "jsonrpc": "2.0", "id": 1, "method": "subscribe_echo", "params": input })
            }
            Self::Rmcp => {
                let input = json!({ "value": TOKEN, "count": job.events });
                let call =
                    json!({ "name": "echo", "arguments": input, "_meta": { "progressToken": 1 } });
                json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call })
            }
            _ => self.echo(job),
        }
        .to_string()
        .into()
    }

    fn echo(self, job: &Job) -> Value {
        let mut fields = Map::new();
        fields.insert("operation".to_owned(), json!("echo"));
        fields.insert("value".to_owned(), json!(TOKEN));
        fields.insert("count".to_owned(), json!(job.events));
        if job.interval_us > 0 {
            fields.insert("interval_us".to_owned(), json!(job.interval_us));
        }
        if job.readers > 1 && self.has_channels() {
            fields.insert("readers".to_owned(), json!(job.readers));
        }
        Value::Object(fields)
    }

    /// Whether readers have to be told of beforehand.
    fn has_channels(self) -> bool {
        matches!(self, Self::Before | Self::Dropshot)
    }

    /// How many events the server adds to those of the job.
    pub(crate) fn own_events(self) -> u64 {
        match self {
            // The result.
            Self::Rmcp => 1,
            // That the job runs, and its end.
            _ if self.store().is_some() => 2,
            _ => 0,
        }
    }

    /// Holds what has come against what was asked for.
    pub(crate) fn check(self, job: &Job, came: &Counter) -> Result<()> {
        let last = came.last();
        let end = match self {
            Self::Rmcp => r#""structuredContent":{"count":"#,
            _ if self.store().is_some() => r#"data: {"state":"succeeded","result""#,
            _ => TOKEN,
        };
        let expected = job.events + self.own_events();
        if came.events != expected || !last.contains(end) {
            let (name, events) = (self.name(), came.events);
            return Err(
                format!("{name}: {events} events of {expected} came, at last {last:?}").into()
            );
        }
        Ok(())
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) events: u64,
    pub(crate) interval_us: u64,
    pub(crate) readers: usize,
}

impl Job {
    /// A job that emits as fast as it can, to one reader.
    pub(crate) fn of(events: u64) -> Self {
        Self { events, interval_us: 0, readers: 1 }
    }
}

impl Running {
    /// A connection to it, of HTTP/1.1.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.server.address, Protocol::Http1).await
    }

    /// Kills the server and starts it again with all that it has on its disk.
    pub(crate) fn restart(self, place: &Place) -> Result<Self> {
        let Self { server, contender, home } = self;
        drop(server);
        let server = Server::start(&mut contender.command(place, home.path()))?;
        Ok(Self { server, contender, home })
    }
}
