//! Who is measured: Skep with each of its stores, and its peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::Result;
use crate::count::Counter;
use crate::server::Server;

/// The token that every event carries: 12 bytes of JSON.
pub(crate) const TOKEN: &str = "0123456789";

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
    /// On a disk, not in memory: what is synced must be.
    pub(crate) scratch: PathBuf,
}

/// A server that does the work which is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// hyper alone, which keeps nothing: the limit.
    Floor,
    /// axum's `Sse` over a channel, with a map of jobs: what one would write without Skep.
    Before,
    /// dropshot, with the same map.
    Dropshot,
    /// The stock build of Skep, with the store in memory.
    Memory,
    /// The stock build of Skep, with the store on the disk.
    Sqlite,
    /// The example of a custom server, with the store in memory.
    Custom,
    /// Skep with as many operations as its configuration says, with the store in memory.
    Many,
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
            Self::Before => "before",
            Self::Dropshot => "dropshot",
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
            Self::Floor | Self::Before | Self::Dropshot => place.peers.join(self.name()),
            Self::Memory | Self::Sqlite => place.skep.clone(),
            Self::Custom => place.custom.clone(),
            Self::Many => place.peers.join("many"),
        }
    }

    /// Where it keeps its jobs, if it's Skep.
    fn store(self) -> Option<&'static str> {
        match self {
            Self::Floor | Self::Before | Self::Dropshot => None,
            Self::Memory | Self::Custom | Self::Many => Some("memory"),
            Self::Sqlite => Some("sqlite"),
        }
    }

    /// The request for `job`.
    pub(crate) fn job(self, job: &Job) -> Bytes {
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
        Value::Object(fields).to_string().into()
    }

    /// Whether readers have to be told of beforehand.
    fn has_channels(self) -> bool {
        matches!(self, Self::Before | Self::Dropshot)
    }

    /// How many events the server adds to those of the job.
    pub(crate) fn own_events(self) -> u64 {
        // Skep tells that the job runs, and its end.
        if self.store().is_some() { 2 } else { 0 }
    }

    /// Holds what has come against what was asked for.
    pub(crate) fn check(self, job: &Job, came: &Counter) -> Result<()> {
        let last = came.last();
        let end =
            if self.store().is_some() { r#"data: {"state":"succeeded","result""# } else { TOKEN };
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
    /// Kills the server and starts it again with all that it has on its disk.
    pub(crate) fn restart(self, place: &Place) -> Result<Self> {
        let Self { server, contender, home } = self;
        drop(server);
        let server = Server::start(&mut contender.command(place, home.path()))?;
        Ok(Self { server, contender, home })
    }
}
