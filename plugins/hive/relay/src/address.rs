//! Where a server is.

use std::fmt;
use std::path::PathBuf;

/// Where a server listens, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host, by its name or its number, and a port.
    Tcp(String, u16),
    /// A socket in the file system: the near end of a tunnel.
    Unix(PathBuf),
}

impl Address {
    /// The host and the port, as a URL and the `Host` header have them. A tunnel ends at the other
    /// machine's own loopback address.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(..) => f.write_str(&self.authority()),
            Self::Unix(_) => f.write_str("the end of its tunnel"),
        }
    }
}
