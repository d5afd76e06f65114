//! The way to a server: TCP, or a socket in the file system.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::address::Address;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to a server, as hyper reads and writes it.
pub(crate) type Wire = TokioIo<Box<dyn Stream>>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a server.
pub(crate) async fn connect(address: &Address) -> io::Result<Wire> {
    let connected = timeout(PATIENCE, async {
        Ok(match address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream) as Box<dyn Stream>
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    });
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it doesn't answer");
    connected.await.map_err(late)?.map(TokioIo::new)
}
