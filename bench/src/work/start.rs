//! How long a server takes from nothing to its first answer, and how large it is.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::rounds::Sample;
use crate::server::{Server, size};

/// Starts a server of Skep's with a directory that is empty, and asks it for its health.
pub(crate) async fn sample(program: &Path, scratch: &Path) -> Result<Sample> {
    let home = TempDir::with_prefix_in("start-", scratch)?;
    let begun = Instant::now();
    let server = Server::start(
        Command::new(program)
            .current_dir(&home)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(home.path().join("data")),
    )?;
    let mut connection = Connection::open(server.address, Protocol::Http1).await?;
    connection.get("/health").await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(vec![("ms to 200", took), ("MB", size(program)? as f64 / 1e6)])
}
