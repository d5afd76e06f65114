//! Asking Cargo about one plugin at a time.

use std::fs;
use std::io;
use std::path::PathBuf;

use toml::Value;

use super::{Asks, Conflict, Plugin, Wants};
use crate::cargo::{self, CargoError, Metadata, Package};
use crate::server_crate::PluginDependency;
use crate::source::{CORE, Source, SourceError};

/// How Cargo begins to tell a requirement that nothing meets, up to what is required.
const UNMET: &str = "failed to select a version for the requirement `skep = \"";

/// How Cargo tells two cores.
const TWO: &str = "links to the native library `skep`";

/// Why it can't be told who wants what.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum ProbeError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("can't write {}: {reason}", .path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Cargo(#[from] CargoError),
}

/// Whether Cargo's words are about core.
pub(super) fn is_about_core(words: &str) -> bool {
    words.contains(TWO) || words.contains(UNMET)
}

/// A crate that depends on as little as answers a question.
pub(super) struct Probe<'a> {
    /// A directory that it has for itself.
    pub(super) directory: PathBuf,
    pub(super) source: &'a Source,
}

impl Probe<'_> {
    /// Looks at each plugin alone. Nothing, if they all go with the build's core.
    pub(super) fn conflict(
        &self,
        plugins: &[PluginDependency],
    ) -> Result<Option<Conflict>, ProbeError> {
        let ours = PluginDependency::new(CORE, self.source.dependency(CORE)?);
        let Some(core) = self.take(&[&ours])?.named(CORE).cloned() else { return Ok(None) };
        let mut looked_at = Vec::new();
        for plugin in plugins.iter().filter(|plugin| !plugin.is_own) {
            let wants = self.wants(plugin, &core)?;
            let is_in_registry = is_in_registry(&plugin.dependency);
            let agreeing = match wants {
                Wants::Other { .. } | Wants::Unmet(_) if is_in_registry => {
                    self.agreeing(plugin, &ours)?
                }
                _ => None,
            };
            looked_at.push(Plugin { name: plugin.name.clone(), wants, agreeing, is_in_registry });
        }
        if looked_at.iter().all(|plugin| matches!(plugin.wants, Wants::Ours | Wants::Nothing(_))) {
            return Ok(None);
        }
        Ok(Some(Conflict { core, plugins: looked_at }))
    }

    /// Which core a plugin takes if it's alone.
    fn wants(&self, plugin: &PluginDependency, ours: &Package) -> Result<Wants, ProbeError> {
        let metadata = match self.take(&[plugin]) {
            Err(ProbeError::Cargo(CargoError::Unresolved(words))) => return Ok(alone(words)),
            taken => taken?,
        };
        let Some(core) = metadata.named(CORE).filter(|core| core.id != ours.id) else {
            return Ok(Wants::Ours);
        };
        let package = metadata.direct_package(&plugin.name);
        let way = package.and_then(|package| metadata.way(&package.id, &core.id));
        let asks = way.and_then(|way| {
            let &asker = way.iter().rev().nth(1)?;
            let requirement = asker.dependencies.iter().find(|needed| needed.name == CORE)?;
            let is_plugin = way.len() == 2;
            Some(Asks {
                through: (!is_plugin).then(|| asker.to_string()),
                text: requirement.to_string(),
            })
        });
        Ok(Wants::Other { core: core.clone(), asks })
    }

    /// The version of a plugin that goes with our core, if the registry has one.
    fn agreeing(
        &self,
        plugin: &PluginDependency,
        ours: &PluginDependency,
    ) -> Result<Option<String>, ProbeError> {
        let mut any = plugin.clone();
        if let Value::Table(dependency) = &mut any.dependency {
            dependency.insert("version".to_owned(), Value::String("*".to_owned()));
        }
        match self.take(&[&any, ours]) {
            // Where there is no such version, Cargo may also choose one that needs no core at all.
            Ok(metadata) => Ok(metadata.direct_package(&plugin.name).and_then(|package| {
                metadata.way(&package.id, &metadata.named(CORE)?.id)?;
                Some(package.version.clone())
            })),
            Err(ProbeError::Cargo(CargoError::Unresolved(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What Cargo takes for a crate with these dependencies, which has our core for one of the
    /// public registry as a server's crate does.
    fn take(&self, dependencies: &[&PluginDependency]) -> Result<Metadata, ProbeError> {
        let lines: String = dependencies
            .iter()
            .map(|PluginDependency { name, dependency, .. }| format!("{name} = {dependency}\n"))
            .collect();
        let manifest = format!(
            "[package]\nname = \"skep-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [lib]\npath = \"lib.rs\"\n\n[dependencies]\n{lines}\n\
             [patch.crates-io]\n{CORE} = {}\n\n[workspace]\n",
            self.source.location(CORE)?
        );
        let write = |name: &str, text: &str| {
            let path = self.directory.join(name);
            fs::write(&path, text).map_err(|reason| ProbeError::File { path, reason })
        };
        let made = fs::create_dir_all(&self.directory);
        made.map_err(|reason| ProbeError::File { path: self.directory.clone(), reason })?;
        write("Cargo.toml", &manifest)?;
        write("lib.rs", "")?;
        // Each question afresh: the last one's versions are not this one's.
        let lock = self.directory.join("Cargo.lock");
        let _ = fs::remove_file(&lock);
        let begun = self.source.begin_lock(&lock);
        begun.map_err(|reason| ProbeError::File { path: lock, reason })?;
        Ok(cargo::quiet_metadata(&self.directory)?)
    }
}

/// What Cargo's words say of a plugin that can't be had alone.
fn alone(words: String) -> Wants {
    if words.contains(TWO) {
        return Wants::Two(words);
    }
    let required = words.split_once(UNMET).and_then(|(_, rest)| rest.split_once('"'));
    match required {
        Some((required, _)) => Wants::Unmet(required.to_owned()),
        None => Wants::Nothing(words),
    }
}

fn is_in_registry(dependency: &Value) -> bool {
    dependency.get("path").is_none() && dependency.get("git").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_a_requirement_is_read() {
        let words = "error: failed to select a version for the requirement `skep = \"^0.2\"`\n...";
        assert!(matches!(alone(words.to_owned()), Wants::Unmet(required) if required == "^0.2"));
        assert!(matches!(alone("error: no network".to_owned()), Wants::Nothing(_)));
    }
}
