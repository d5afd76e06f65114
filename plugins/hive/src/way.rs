//! The way to a hive's server.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use skep::prelude::*;
use skep_relay::{Failure, Server};
use tempfile::TempDir;

use crate::hive::Entry;
use crate::machine::Machine;
use crate::ssh::{self, Tunnel};

/// Why a hive can't be reached that has never been started.
pub(crate) const NO_PORT: &str =
    "it has no port yet: `hive_start` starts it on one that is free, `hive_update` sets one";

/// The way to a hive's server.
pub(crate) enum Way {
    /// Its address can be connected to.
    Direct(Box<Server>),
    /// Through SSH.
    Tunnel(Box<Tunnel>),
    /// There's none yet: it has never been started.
    Unknown,
}

/// What ways are made of: where the ends of tunnels are, and how `ssh` is configured.
pub(crate) struct Paths {
    /// In the system's directory for temporary files: a socket's path must be short.
    tunnels: TempDir,
    ssh_config: Option<PathBuf>,
}

impl Paths {
    /// # Errors
    /// If there can be no temporary directory.
    pub(crate) fn new(ssh_config: Option<PathBuf>) -> io::Result<Self> {
        let tunnels = tempfile::Builder::new().prefix("skep-").tempdir()?;
        Ok(Self { tunnels, ssh_config })
    }
}

impl Way {
    /// The way that the catalog's entry tells.
    pub(crate) fn of(entry: &Entry, paths: &Paths) -> Self {
        if let Some(destination) = &entry.ssh {
            // A hive that has been changed gets another tunnel, while the former one may still be open.
            let name = format!("{}-{}", entry.id, fresh());
            let socket = paths.tunnels.path().join(name);
            let far = (entry.host.as_str(), entry.port);
            let tunnel = Tunnel::new(destination, paths.ssh_config.clone(), far, socket);
            return Self::Tunnel(Box::new(tunnel));
        }
        match entry.address() {
            Some(address) => Self::Direct(Box::new(Server::new(address))),
            None => Self::Unknown,
        }
    }

    /// Opens the way. Returns the server at its end, or why it can't be opened.
    pub(crate) async fn open(&self) -> Result<Server, String> {
        match self {
            Self::Direct(server) => Ok((**server).clone()),
            Self::Tunnel(tunnel) => tunnel.open().await,
            Self::Unknown => Err(NO_PORT.to_owned()),
        }
    }

    /// The server at its end, whether the way is open or not.
    pub(crate) fn server(&self) -> Option<Server> {
        match self {
            Self::Direct(server) => Some((**server).clone()),
            Self::Tunnel(tunnel) => tunnel.server(),
            Self::Unknown => None,
        }
    }

    /// Takes note that the server can't be reached this way. Returns why, in words.
    pub(crate) async fn failed(&self, failure: &Failure) -> String {
        if let Self::Tunnel(tunnel) = self {
            tunnel.failed(failure).await;
        }
        failure.to_string()
    }

    /// Closes what is open.
    pub(crate) async fn close(&self) {
        if let Self::Tunnel(tunnel) = self {
            tunnel.close().await;
        }
    }

    /// The machine at its end.
    ///
    /// # Errors
    /// `ssh-failed`; `no-ssh` if it's another machine and SSH has no part in it.
    pub(crate) async fn machine(&self, entry: &Entry) -> Result<Machine> {
        match self {
            Self::Tunnel(tunnel) => {
                let session = tunnel.session().await.map_err(|error| ssh::failed(&error))?;
                Ok(Machine::There(session))
            }
            _ if is_here(&entry.host) => Ok(Machine::Here),
            _ => {
                let Entry { id, host, .. } = entry;
                let detail = format!(
                    "`{host}` is another machine: say how SSH gets there (`hive_update` with \
                     id={id} ssh=...), or start and stop its server there"
                );
                Err(OperationError::new("no-ssh", detail).with_status(409))
            }
        }
    }
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A number that no other has.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
