//! What is built: a server with the plugin in a directory, and what its jobs need to survive.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml::{Table, Value};

use crate::build::{does_not_compile, unresolved};
use crate::cargo::{self, CargoError, Lock, Profile};
use crate::server_crate::{PluginDependency, ServerCrate, WriteError};
use crate::source::Source;

/// The families beside the plugin: what shows that the server works, and the store.
const FAMILIES: [&str; 2] = ["system", "sqlite"];

/// Where the server crate and its data are, below the plugin's directory.
const WORKSHOP: &str = "target/skep-dev";

/// The server's configuration, read where the plugin is.
const CONFIG: &str = "skep.toml";

/// How the server of a plugin is built.
pub(super) struct Recipe {
    /// The plugin's directory, absolute.
    pub(super) directory: PathBuf,
    /// The plugin's crate.
    pub(super) plugin: String,
    source: Source,
}

/// A server that has been built.
pub(super) struct Built {
    pub(super) program: PathBuf,
    pub(super) edition: Edition,
    /// The directories of the crates in it that may change: those of paths.
    pub(super) sources: Vec<PathBuf>,
}

/// What a server is made of: two of the same edition do the same.
#[derive(PartialEq, Eq)]
pub(super) struct Edition {
    program: Option<SystemTime>,
    config: Option<String>,
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlugin {
    #[error(
        "there is no plugin in {}, it has no Cargo.toml: change into a plugin's directory, or \
         write one by `skep new plugin NAME`", .0.display()
    )]
    NoManifest(PathBuf),
    #[error("can't read {}: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{}: {reason}", .path.display())]
    NotToml { path: PathBuf, reason: toml::de::Error },
    #[error("{} has no [package]: change into the directory of a plugin", .0.display())]
    NoPackage(PathBuf),
}

impl Recipe {
    /// The recipe for the plugin in `directory`, which must be absolute.
    pub(super) fn of(directory: &Path, source: Source) -> Result<Self, NoPlugin> {
        let path = directory.join("Cargo.toml");
        let manifest = match fs::read_to_string(&path) {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NoPlugin::NoManifest(directory.to_owned()));
            }
            Err(reason) => return Err(NoPlugin::Unreadable { path, reason }),
        };
        let manifest: Table = match manifest.parse() {
            Ok(manifest) => manifest,
            Err(reason) => return Err(NoPlugin::NotToml { path, reason }),
        };
        let package = manifest.get("package").and_then(|package| package.get("name"));
        let Some(Value::String(plugin)) = package else { return Err(NoPlugin::NoPackage(path)) };
        Ok(Self { directory: directory.to_owned(), plugin: plugin.clone(), source })
    }

    /// Where the server keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.workshop().join("data")
    }

    fn workshop(&self) -> PathBuf {
        self.directory.join(WORKSHOP)
    }

    /// Builds the server. What Cargo and the compiler say is told on standard error meanwhile; the
    /// error is what `skep build` says of it.
    pub(super) fn build(&self) -> Result<Built, Box<dyn Error>> {
        let workshop = self.workshop();
        let mut plugins = vec![PluginDependency::path(&self.plugin, &self.directory)];
        for family in FAMILIES {
            let family = PluginDependency::family(&self.source, family)?;
            // It may be the one that is worked on.
            if family.name != self.plugin {
                plugins.push(family);
            }
        }
        let server = ServerCrate { directory: &workshop, source: &self.source, plugins };
        let metadata = match server.write(Lock::Extend) {
            Err(WriteError::Cargo(CargoError::Unresolved(words))) => {
                return Err(unresolved(words, &server, Lock::Extend));
            }
            written => written?,
        };
        let program = match cargo::build(&workshop, Profile::Dev, Lock::Extend) {
            Err(CargoError::DoesNotCompile(package)) => {
                return Err(does_not_compile(&package, &server, &metadata));
            }
            built => built?,
        };
        let edition = Edition {
            program: fs::metadata(&program).and_then(|program| program.modified()).ok(),
            config: fs::read_to_string(self.directory.join(CONFIG)).ok(),
        };
        let sources = metadata.directories().filter(|directory| *directory != workshop);
        Ok(Built { program, edition, sources: sources.map(Path::to_owned).collect() })
    }
}
