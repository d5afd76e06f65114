//! The way to a hive, layer by layer.

use std::time::{Duration, Instant};

use skep::placement::LOCALHOST;
use skep::prelude::*;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::heartbeat::Heartbeat;
use crate::hive::State;
use crate::hives::Hives;
use crate::link::Link;
use crate::machine::Machine;
use crate::way::Way;

/// How long a layer may take. The system gives a connection minutes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was found of one layer of the way to a hive.
#[skep::data]
#[derive(Clone)]
pub(crate) struct Layer {
    /// Its name: `resolve`, `connect`, `ssh`, `program`, `tunnel`, `http`, `version`, `heartbeat`.
    pub(crate) name: String,
    /// Whether it works.
    pub(crate) ok: bool,
    /// What was found, or what is wrong.
    pub(crate) detail: String,
    /// How long it took, milliseconds.
    pub(crate) ms: u64,
}

/// What was found of the way to a hive.
#[skep::data]
pub(crate) struct Checked {
    /// The hive.
    pub(crate) hive_id: String,
    /// Whether all of it works.
    pub(crate) ok: bool,
    /// Its layers, in their order, up to the first that doesn't work.
    pub(crate) layers: Vec<Layer>,
}

/// Checks the way to hive `id`.
pub(crate) async fn check(hives: &Hives, id: &str, job: &JobContext) -> Result<Checked> {
    let mut way = Walk { layers: Vec::new(), job };
    let ok = if id == LOCALHOST {
        let heartbeat = hives.here().await;
        way.layer("heartbeat", async { Ok(told(&heartbeat)) }).await?
    } else {
        let link = hives.link(id)?;
        way.walk(&link).await?
    };
    Ok(Checked { hive_id: id.to_owned(), ok, layers: way.layers })
}

struct Walk<'a> {
    layers: Vec<Layer>,
    job: &'a JobContext,
}

impl Walk<'_> {
    /// Walks along the way as far as it goes. Returns whether it's the whole of it.
    async fn walk(&mut self, link: &Link) -> Result<bool> {
        let entry = &link.entry;
        match &link.way {
            Way::Tunnel(_) => {
                let machine = async {
                    let machine =
                        link.way.machine(entry).await.map_err(|error| error.to_string())?;
                    let ssh = entry.ssh.as_deref().unwrap_or_default();
                    Ok((machine, format!("`{ssh}` answers")))
                };
                let Some(machine) = self.layer_with("ssh", machine).await? else {
                    return Ok(false);
                };
                if !self.layer("program", program(&machine)).await? {
                    return Ok(false);
                }
                let tunnel = async { link.way.open().await.map(|_| "it's open".to_owned()) };
                if !self.layer("tunnel", tunnel).await? {
                    return Ok(false);
                }
            }
            Way::Direct(_) | Way::Unknown => {
                let resolve = async {
                    let port = entry.port.ok_or_else(|| crate::way::NO_PORT.to_owned())?;
                    let found = lookup_host((entry.host.as_str(), port)).await;
                    let found: Vec<_> = found.map_err(|error| error.to_string())?.collect();
                    let words: Vec<_> = found.iter().map(ToString::to_string).collect();
                    Ok((found, words.join(", ")))
                };
                let Some(found) = self.layer_with("resolve", resolve).await? else {
                    return Ok(false);
                };
                let connect = async {
                    let stream = TcpStream::connect(&*found).await;
                    let peer = stream.and_then(|stream| stream.peer_addr());
                    peer.map(|peer| format!("{peer} takes connections"))
                        .map_err(|error| error.to_string())
                };
                if !self.layer("connect", connect).await? {
                    return Ok(false);
                }
            }
        }
        let http = async {
            let server = link.way.open().await?;
            let operations = server.operations().await.map_err(|error| error.to_string())?;
            let placed = operations.iter().filter(|spec| spec.placement.is_some()).count();
            let told = format!("{} operations, {placed} of them placed", operations.len());
            Ok(told)
        };
        if !self.layer("http", http).await? {
            return Ok(false);
        }
        let heartbeat = async {
            link.ask().await;
            let known = link.known();
            match known.heartbeat {
                Some(heartbeat) if known.state == State::Online => {
                    Ok((heartbeat, "it tells".into()))
                }
                _ => Err(known.failure.unwrap_or_else(|| "it has told nothing".to_owned())),
            }
        };
        let Some(heartbeat) = self.layer_with("heartbeat", heartbeat).await? else {
            return Ok(false);
        };
        let version = async {
            let own = env!("CARGO_PKG_VERSION");
            let Heartbeat { version, .. } = &*heartbeat;
            if version == own {
                return Ok(told(&heartbeat));
            }
            Err(format!("it's {version}, and this server {own}: use the same on both"))
        };
        self.layer("version", version).await
    }

    async fn layer(
        &mut self,
        name: &str,
        look: impl Future<Output = Result<String, String>>,
    ) -> Result<bool> {
        let look = async { look.await.map(|detail| ((), detail)) };
        Ok(self.layer_with(name, look).await?.is_some())
    }

    /// Looks at one layer, and tells of it. Returns what the next ones need, if it works.
    async fn layer_with<T>(
        &mut self,
        name: &str,
        look: impl Future<Output = Result<(T, String), String>>,
    ) -> Result<Option<T>> {
        let begun = Instant::now();
        let late = |_| Err(format!("nothing within {PATIENCE:?}"));
        let found = timeout(PATIENCE, look).await.unwrap_or_else(late);
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (found, detail) = match found {
            Ok((found, detail)) => (Some(found), detail),
            Err(detail) => (None, detail),
        };
        let layer = Layer { name: name.to_owned(), ok: found.is_some(), detail, ms };
        self.job.emit(&layer).await?;
        self.layers.push(layer);
        Ok(found)
    }
}

/// The program that is installed on the machine.
async fn program(machine: &Machine) -> Result<String, String> {
    let found = machine.find().await.map_err(|error| error.to_string())?;
    let (system, processor) = &found.target;
    match found.version {
        Some(version) => Ok(format!("{version} on {system}/{processor}")),
        None => {
            Err(format!("not installed, on {system}/{processor}: `hive_start` copies it there"))
        }
    }
}

fn told(heartbeat: &Heartbeat) -> String {
    format!("{}, process {}", heartbeat.version, heartbeat.pid)
}
