//! The small crate that is a server with some plugins: what `skep build` and `skep dev` have Cargo
//! build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cargo::{self, CargoError, Lock, Metadata};
use crate::source::{CORE, Source, SourceError};

/// The crate that serves.
pub(crate) const SERVER: &str = "skep-server";

/// The plugin whose engine chooses its kernels by the processor that it's compiled for.
const ENGINE: &str = "skep-worker";

/// How Cargo builds what is in the source tree.
const CONFIG: &str = include_str!("../../../.cargo/config.toml");

/// A server crate, in a directory that it has for itself.
///
/// It's a workspace of its own, wherever it is. Plugins that ask the public registry for one of
/// Skep's crates get the source's, so that all plugins register in one core.
pub(crate) struct ServerCrate<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) source: &'a Source,
    pub(crate) plugins: Vec<PluginDependency>,
}

/// A plugin as the crate depends on it.
#[derive(Clone, Debug)]
pub(crate) struct PluginDependency {
    /// The package's name.
    pub(crate) name: String,
    /// Its line of `[dependencies]`: a version, or a table.
    pub(crate) dependency: Value,
    /// Whether it's one of Skep's own.
    pub(crate) is_own: bool,
}

/// Why there is no server crate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("can't write {}: {reason}", .path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Cargo(#[from] CargoError),
    #[error("`{0}` is no plugin: it has no library that a server could link")]
    NoLibrary(String),
}

impl PluginDependency {
    /// A stock family by its name: `system` is the crate `skep-system`.
    pub(crate) fn family(source: &Source, family: &str) -> Result<Self, SourceError> {
        let name = format!("skep-{family}");
        let dependency = source.dependency(&name)?;
        Ok(Self { name, dependency, is_own: true })
    }

    /// Anyone's plugin, by its line of `[dependencies]`.
    pub(crate) fn new(name: impl Into<String>, dependency: impl Into<Value>) -> Self {
        Self { name: name.into(), dependency: dependency.into(), is_own: false }
    }

    /// The plugin in a directory, which must be absolute.
    pub(crate) fn path(name: impl Into<String>, directory: &Path) -> Self {
        let path = Value::String(directory.display().to_string());
        Self::new(name, Table::from_iter([("path".to_owned(), path)]))
    }
}

impl ServerCrate<'_> {
    /// Writes the crate, and returns what a build of it takes.
    ///
    /// A file that says the right thing already isn't touched, so that Cargo has nothing to do
    /// where nothing is new. A crate that has no lock file yet begins with the source tree's: with
    /// the versions that Skep is tested with.
    pub(crate) fn write(&self, lock: Lock) -> Result<Metadata, WriteError> {
        write(&self.directory.join("Cargo.toml"), &self.manifest()?)?;
        write(&self.directory.join(".cargo/config.toml"), &self.config())?;
        let path = self.directory.join("Cargo.lock");
        self.source.begin_lock(&path).map_err(|reason| WriteError::File { path, reason })?;
        let metadata = cargo::metadata(self.directory, lock)?;
        write(&self.directory.join("src/main.rs"), &self.program(&metadata)?)?;
        Ok(metadata)
    }

    fn manifest(&self) -> Result<String, SourceError> {
        let mut lines = vec![
            "# Written by `skep`, which writes it anew: what is changed here is lost.".to_owned(),
            String::new(),
            "[package]\nname = \"skep-custom\"\nversion = \"0.0.0\"\nedition = \"2024\"".to_owned(),
            "publish = false\n\n[[bin]]\nname = \"skep\"\npath = \"src/main.rs\"\n".to_owned(),
            "[dependencies]".to_owned(),
            format!("{SERVER} = {}", self.source.dependency(SERVER)?),
        ];
        let mut plugins: Vec<_> = self.plugins.iter().collect();
        plugins.sort_by_key(|plugin| &plugin.name);
        lines.extend(
            plugins.iter().map(|plugin| format!("{} = {}", plugin.name, plugin.dependency)),
        );
        lines.push("\n[patch.crates-io]".to_owned());
        let own = plugins.iter().filter(|plugin| plugin.is_own).map(|plugin| plugin.name.as_str());
        for name in [CORE, SERVER].into_iter().chain(own) {
            lines.push(format!("{name} = {}", self.source.location(name)?));
        }
        lines.push("\n[workspace]\n".to_owned());
        Ok(lines.join("\n") + &self.profiles())
    }

    /// The profiles of the source. Packages that only a release compiles in their own way are every
    /// server's; those that `dev` does too are the engine's, and Cargo warns of one that isn't there.
    fn profiles(&self) -> String {
        let Some(Value::Table(mut profiles)) = self.source.value(&["profile"]).cloned() else {
            return String::new();
        };
        if let (false, Some(Value::Table(dev))) = (self.has_engine(), profiles.get_mut("dev")) {
            dev.remove("package");
        }
        format!("\n{}", Table::from_iter([("profile".to_owned(), Value::Table(profiles))]))
    }

    /// Cargo's configuration: the source tree's. Without the engine, for any processor.
    fn config(&self) -> String {
        let mut config: Table = CONFIG.parse().expect("the build of this program has read it");
        if !self.has_engine() {
            config.remove("target");
        }
        config.to_string()
    }

    fn has_engine(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.name == ENGINE)
    }

    fn program(&self, metadata: &Metadata) -> Result<String, WriteError> {
        let mut libraries = Vec::new();
        for PluginDependency { name, .. } in &self.plugins {
            let library = metadata.direct().find(|(_, package)| package.name == *name);
            let (library, _) = library.ok_or_else(|| WriteError::NoLibrary(name.clone()))?;
            libraries.push(format!("    {library} as _,\n"));
        }
        libraries.sort();
        Ok(format!(
            "//! A server: its plugins are all there is to it.\n\n\
             use std::process::ExitCode;\n\n\
             use {{\n{}}};\n\n\
             fn main() -> ExitCode {{\n    skep_server::main()\n}}\n",
            libraries.concat()
        ))
    }
}

/// Writes a file and the directories above it, unless it says this already.
fn write(path: &Path, text: &str) -> Result<(), WriteError> {
    let written = || {
        if fs::read_to_string(path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    written().map_err(|reason| WriteError::File { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;

    /// Writes the crate of a server with these families.
    fn write_with(families: &[&str], directory: &Path) {
        let source = Source::built_from().unwrap();
        let families = families.iter().map(|family| PluginDependency::family(&source, family));
        let plugins = families.collect::<Result<_, _>>().unwrap();
        ServerCrate { directory, source: &source, plugins }.write(Lock::Extend).unwrap();
    }

    fn changed(directory: &Path) -> BTreeMap<&'static str, SystemTime> {
        ["Cargo.toml", "Cargo.lock", "src/main.rs"]
            .map(|name| (name, directory.join(name).metadata().unwrap().modified().unwrap()))
            .into()
    }

    #[test]
    fn what_is_written_again_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        write_with(&["system"], directory.path());
        let first = changed(directory.path());
        write_with(&["system"], directory.path());
        assert_eq!(changed(directory.path()), first);
    }

    #[test]
    fn the_engine_is_compiled_as_in_the_stock_build_and_what_is_for_it_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        write_with(&["system", "worker"], directory.path());
        assert!(read(".cargo/config.toml").contains("target-cpu"));
        assert!(read("Cargo.toml").contains("[profile.dev.package.skep-engine]"));

        write_with(&["system"], directory.path());
        assert!(!read(".cargo/config.toml").contains("target-cpu"));
        assert!(read(".cargo/config.toml").contains("HAVE_FDATASYNC"), "SQLite's flags stay");
        assert!(!read("Cargo.toml").contains("skep-engine"));
        let release: Table = read("Cargo.toml").parse().unwrap();
        let source = Source::built_from().unwrap();
        let stays = Some(&release["profile"]["release"]);
        assert_eq!(stays, source.value(&["profile", "release"]), "the release profile stays");
    }
}
