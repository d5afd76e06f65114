//! Where a server listens: an address of its own, or a socket that it's handed.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Pid;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::config::ServerConfig;

/// How `--listen` and the configuration call a socket that is handed over.
const STDIN: &str = "stdin";

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How often it's looked whether whoever handed the socket over is still there.
const PARENT_CHECK: Duration = Duration::from_millis(500);

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On an address, by a socket of its own.
    Address(SocketAddr),
    /// On the socket that is its standard input, as inetd has it. Whoever keeps the socket can
    /// replace the server, and connections wait meanwhile.
    Stdin,
}

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("can't listen on {address}: {reason}")]
    Bind { address: SocketAddr, reason: io::Error },
    #[error(
        "can't listen on standard input: it's no TCP socket that listens ({0}); `--listen stdin` is \
         for a program that hands one over"
    )]
    NoSocket(io::Error),
    #[error(
        "refusing to listen on {0}: anyone who reaches that address could use this server; listen \
         on 127.0.0.1, or pass --insecure if you mean it"
    )]
    Exposed(SocketAddr),
}

/// What can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address: it's like `127.0.0.1:7833`, or `stdin`")]
pub(crate) struct NoAddress(String);

impl ServerConfig {
    /// The socket that it listens on. Refuses to be reached by everyone, unless that is meant.
    pub(crate) async fn listener(&self) -> Result<TcpListener, ListenError> {
        match self.listen {
            Listen::Address(address) => {
                self.check_exposure(address)?;
                let bound = TcpListener::bind(address).await;
                bound.map_err(|reason| ListenError::Bind { address, reason })
            }
            Listen::Stdin => {
                let listener = from_stdin().map_err(ListenError::NoSocket)?;
                self.check_exposure(listener.local_addr().map_err(ListenError::NoSocket)?)?;
                Ok(listener)
            }
        }
    }

    fn check_exposure(&self, address: SocketAddr) -> Result<(), ListenError> {
        if address.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        Err(ListenError::Exposed(address))
    }
}

fn from_stdin() -> io::Result<TcpListener> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // It listens already: that this works says that it's a socket which can. `SO_ACCEPTCONN` would
    // say so too, but not on every system.
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The process that handed a server its socket.
pub(crate) struct Parent(Option<Pid>);

impl Parent {
    /// This process's. Asked for early: of one that has ended by then nothing is known.
    pub(crate) fn of_this_process() -> Self {
        Self(rustix::process::getppid())
    }

    /// Waits for its end.
    pub(crate) async fn gone(self) {
        // No system call waits for a parent's end on every system.
        while rustix::process::getppid() == self.0 {
            sleep(PARENT_CHECK).await;
        }
    }
}

impl Listen {
    /// Returns when the server has lost what it listens for: the process that handed it its socket.
    /// A server with an address of its own depends on nobody.
    pub(crate) async fn lost(self, parent: Parent) {
        match self {
            Self::Address(_) => std::future::pending().await,
            Self::Stdin => parent.gone().await,
        }
    }
}

impl FromStr for Listen {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == STDIN {
            return Ok(Self::Stdin);
        }
        text.parse().map(Self::Address).map_err(|_| NoAddress(text.to_owned()))
    }
}

impl Display for Listen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Stdin => f.write_str(STDIN),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
