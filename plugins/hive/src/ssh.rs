//! Getting to a machine by the user's own `ssh`: its keys, its known hosts, its aliases.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openssh::{ControlPersist, ForwardType, KnownHosts, Session, SessionBuilder, Socket};
use skep::prelude::*;
use skep_relay::{Address, Failure, Server};
use tokio::sync::Mutex;
use tracing::debug;

use crate::way::NO_PORT;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a silent connection is asked whether it's still there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// For how long the connection outlives this server, if it has had no time to close it.
const IDLE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(30).expect("it isn't zero");

/// A connection to one machine, and through it to the hive's server there.
pub(crate) struct Tunnel {
    destination: String,
    /// The configuration in place of the user's.
    config: Option<PathBuf>,
    /// The host and the port of the server, seen from there; no port if it was never started.
    host: String,
    port: Option<u16>,
    /// The end of the tunnel that is here.
    socket: PathBuf,
    server: Server,
    session: Mutex<Option<Arc<Session>>>,
}

impl Tunnel {
    /// A tunnel to `host` and `port` on the machine `destination`, whose near end will be `socket`.
    pub(crate) fn new(
        destination: &str,
        config: Option<PathBuf>,
        (host, port): (&str, Option<u16>),
        socket: PathBuf,
    ) -> Self {
        Self {
            destination: destination.to_owned(),
            config,
            host: host.to_owned(),
            port,
            server: Server::new(Address::Unix(socket.clone())),
            socket,
            session: Mutex::default(),
        }
    }

    /// The server at the far end. Whether the tunnel is open isn't said.
    pub(crate) fn server(&self) -> Option<Server> {
        self.port.map(|_| self.server.clone())
    }

    /// The connection to the machine, made if there's none.
    ///
    /// # Errors
    /// What `ssh` says.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, openssh::Error> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session
            && session.check().await.is_ok()
        {
            return Ok(session.clone());
        }
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(PATIENCE)
            .server_alive_interval(ALIVE_INTERVAL)
            .control_persist(ControlPersist::IdleFor(IDLE));
        if let Some(config) = &self.config {
            builder.config_file(config);
        }
        if let Some(directory) = self.socket.parent() {
            builder.control_directory(directory);
        }
        let new = Arc::new(builder.connect(&self.destination).await?);
        // What an earlier connection has left of the tunnel leads nowhere.
        let _ = std::fs::remove_file(&self.socket);
        *session = Some(new.clone());
        Ok(new)
    }

    /// Opens the tunnel. Returns the server at its end, or why it can't be opened.
    pub(crate) async fn open(&self) -> Result<Server, String> {
        let Some(port) = self.port else { return Err(NO_PORT.to_owned()) };
        let session = self.session().await.map_err(|error| words(&error))?;
        if !self.socket.exists() {
            let near = Socket::UnixSocket { path: Path::new(&self.socket).into() };
            let far = Socket::TcpSocket { host: self.host.as_str().into(), port };
            let opened = session.request_port_forward(ForwardType::Local, near, far).await;
            opened.map_err(|error| words(&error))?;
        }
        Ok(self.server.clone())
    }

    /// Takes note that the server can't be reached: the next time, the tunnel is dug anew.
    pub(crate) async fn failed(&self, failure: &Failure) {
        if matches!(failure, Failure::Unreachable(_)) {
            self.close().await;
        }
    }

    /// Closes the tunnel and the connection.
    pub(crate) async fn close(&self) {
        let session = self.session.lock().await.take();
        let _ = std::fs::remove_file(&self.socket);
        if let Some(session) = session.and_then(Arc::into_inner)
            && let Err(error) = session.close().await
        {
            debug!("the connection to `{}` was not closed: {error}", self.destination);
        }
    }
}

/// What `ssh` says, as an operation's error.
pub(crate) fn failed(error: &openssh::Error) -> OperationError {
    OperationError::new("ssh-failed", words(error)).with_status(502)
}

/// What `ssh` says: its last cause has the reason.
fn words(error: &openssh::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("ssh: {cause}")
}
