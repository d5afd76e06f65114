//! The proof that a server has its plugins: it's run, and asked.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::cargo::Metadata;
use crate::server_crate::ServerCrate;

/// A server's plugins, as it tells them itself. It's shown as a list of them.
#[derive(Debug)]
pub(super) struct Proof(Vec<Proven>);

#[derive(Debug)]
struct Proven {
    package: String,
    operations: Vec<String>,
}

/// Why a server that was built is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    #[error("the server was built and can't be run: {0}")]
    NotRun(#[from] io::Error),
    #[error("the server was built and does not run ({status}): {words}")]
    Failed { status: std::process::ExitStatus, words: String },
    #[error("the server was built and its plugins can't be read: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error(
        "plugin `{name}` ({place}) registers nothing: the server has no plugin, operation, store or \
         command of it. Is it a plugin? Those have `#[skep::plugin]` or `#[skep::operation]`"
    )]
    Nothing { name: String, place: String },
    #[error(
        "{first} and {second} both register the operation `{operation}`, and a server has one of a \
         name: leave one of them out"
    )]
    Twice { operation: String, first: String, second: String },
}

/// A row of `skep plugins --json`.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "crate")]
    package: String,
    version: String,
    operations: Vec<String>,
}

/// Runs the server to see that each plugin is in.
pub(super) fn of(
    program: &Path,
    server: &ServerCrate<'_>,
    metadata: &Metadata,
) -> Result<Proof, ProofError> {
    let asked = Command::new(program).args(["plugins", "--json"]).stdin(Stdio::null()).output()?;
    if !asked.status.success() {
        let words = String::from_utf8_lossy(&asked.stderr).trim_end().to_owned();
        return Err(ProofError::Failed { status: asked.status, words });
    }
    let rows: Vec<Row> = serde_json::from_slice(&asked.stdout)?;
    one_of_a_name(&rows)?;
    let packages = server.plugins.iter().filter_map(|plugin| metadata.direct_package(&plugin.name));
    let proven = packages.map(|package| {
        let is_its = |row: &&Row| row.package == package.name && row.version == package.version;
        let mut its = rows.iter().filter(is_its).peekable();
        if its.peek().is_none() {
            let (name, place) = (package.name.clone(), package.place());
            return Err(ProofError::Nothing { name, place });
        }
        let operations = its.flat_map(|row| row.operations.iter().cloned()).collect();
        Ok(Proven { package: package.to_string(), operations })
    });
    Ok(Proof(proven.collect::<Result<_, _>>()?))
}

/// Fails if two crates register an operation of one name: such a server would not start.
fn one_of_a_name(rows: &[Row]) -> Result<(), ProofError> {
    let mut registered = BTreeMap::new();
    for row in rows {
        for operation in &row.operations {
            if let Some(first) = registered.insert(operation, &row.package) {
                return Err(ProofError::Twice {
                    operation: operation.clone(),
                    first: first.clone(),
                    second: row.package.clone(),
                });
            }
        }
    }
    Ok(())
}

impl Display for Proof {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} plugins:", self.0.len())?;
        for Proven { package, operations } in &self.0 {
            write!(f, "\n  {package}")?;
            if !operations.is_empty() {
                write!(f, ": {}", operations.join(", "))?;
            }
        }
        Ok(())
    }
}
