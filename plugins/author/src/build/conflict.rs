//! Two cores in one build, and how to agree.
//!
//! A plugin registers in the copy of core that it was built on. With two copies in one program, the
//! plugins of the other would be missing without a word; so core has Cargo refuse such a build
//! (`links`). Cargo's words tell one place where it gave up. Here each plugin is looked at alone:
//! which core does it want?

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::cargo::{self, CargoError, Metadata, Package};
use crate::server_crate::{PluginDependency, ServerCrate};
use crate::source::{CORE, Source, SourceError};

/// How Cargo begins to tell a requirement that nothing meets, up to what is required.
const UNMET: &str = "failed to select a version for the requirement `skep = \"";

/// Plugins that want another core than the build has.
#[derive(Debug)]
pub(super) struct Conflict {
    /// The build's core.
    core: Package,
    plugins: Vec<Plugin>,
}

/// A plugin, and what it wants.
#[derive(Debug)]
struct Plugin {
    name: String,
    wants: Wants,
    /// Of a plugin in a registry: its version that goes with the build's core.
    agreeing: Option<String>,
    is_in_registry: bool,
}

#[derive(Debug)]
enum Wants {
    /// The build's core.
    Ours,
    /// Another one.
    Other { core: Package, asks: Option<Asks> },
    /// Versions of which the build has none.
    Unmet(String),
    /// Cargo's words: the plugin can't be had even alone.
    Nothing(String),
}

/// How a manifest asks for a core.
#[derive(Debug)]
struct Asks {
    /// Whose manifest, if it's not the plugin's but that of something it needs.
    through: Option<String>,
    /// The line.
    text: String,
}

/// Why it can't be told who wants what.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("can't write {}: {reason}", .path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Cargo(#[from] CargoError),
}

/// Looks for the plugins that want another core, if that is what Cargo's `words` are about.
pub(super) fn explain(
    words: &str,
    server: &ServerCrate<'_>,
) -> Result<Option<Conflict>, ProbeError> {
    if !words.contains("native library `skep`") && !words.contains(UNMET) {
        return Ok(None);
    }
    let probe = Probe { directory: server.directory.join("probe"), source: server.source };
    let conflict = probe.conflict(&server.plugins);
    // It's of no use to anyone afterwards.
    let _ = fs::remove_dir_all(&probe.directory);
    conflict
}

/// A crate that depends on as little as answers a question.
struct Probe<'a> {
    directory: PathBuf,
    source: &'a Source,
}

impl Probe<'_> {
    fn conflict(&self, plugins: &[PluginDependency]) -> Result<Option<Conflict>, ProbeError> {
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
            Err(ProbeError::Cargo(CargoError::Unresolved(words))) => return Ok(unmet(words)),
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
fn unmet(words: String) -> Wants {
    let required = words.split_once(UNMET).and_then(|(_, rest)| rest.split_once('"'));
    match required {
        Some((required, _)) => Wants::Unmet(required.to_owned()),
        None => Wants::Nothing(words),
    }
}

fn is_in_registry(dependency: &Value) -> bool {
    dependency.get("path").is_none() && dependency.get("git").is_none()
}

impl Display for Conflict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "two cores in one build: plugins register in the core that they were built on, and those of \
             the other would be missing without a word. So they must agree.\n\n\
             The server and the stock plugins have {}.",
            self.core
        )?;
        for plugin in &self.plugins {
            writeln!(f, "Plugin `{}` {}.", plugin.name, plugin.wants)?;
        }
        write!(f, "\nTo agree:")?;
        for plugin in &self.plugins {
            self.advise(plugin, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Conflict {}

impl Display for Wants {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => write!(f, "goes with it"),
            Self::Other { core, .. } => write!(f, "wants {core}"),
            Self::Unmet(required) => write!(f, "wants {CORE} {required}, and there is none here"),
            Self::Nothing(words) => write!(f, "can't be had even alone; cargo says:\n{words}"),
        }
    }
}

impl Conflict {
    /// What would have a plugin agree, if it doesn't.
    fn advise(&self, plugin: &Plugin, f: &mut Formatter<'_>) -> fmt::Result {
        let ours = series(&self.core.version);
        let name = &plugin.name;
        let (asked, other) = match &plugin.wants {
            Wants::Ours | Wants::Nothing(_) => return Ok(()),
            Wants::Other { core, asks } => (asks.as_ref(), Some(core)),
            Wants::Unmet(_) => (None, None),
        };
        write!(f, "\n- {name}: ")?;
        match (&plugin.agreeing, asked) {
            (Some(version), _) => {
                return write!(f, "ask for version {version}, `--with {name}@{version}`");
            }
            (None, _) if plugin.is_in_registry => {
                write!(f, "its registry has no version for `{CORE} = \"{ours}\"`")?;
            }
            (None, Some(Asks { through: Some(needed), text })) => write!(
                f,
                "{needed}, which it needs, asks for `{text}`; it takes one that asks for \
                 `{CORE} = \"{ours}\"`"
            )?,
            (None, Some(Asks { through: None, text })) => write!(
                f,
                "its Cargo.toml asks for `{text}`; have it ask for `{CORE} = \"{ours}\"`"
            )?,
            (None, None) => write!(f, "have its Cargo.toml ask for `{CORE} = \"{ours}\"`")?,
        }
        match other.and_then(source_of) {
            Some(source) => write!(f, ", or build all on its core, `--source {source}`"),
            None => write!(f, ", or build all on a core that it goes with, by `--source`"),
        }
    }
}

/// The source that a core is of, as `--source` takes it.
fn source_of(core: &Package) -> Option<String> {
    if core.is_in_git() {
        return Some(core.place());
    }
    let root = core.tree()?.to_str()?;
    Source::parse(root, Path::new("")).ok().map(|source| source.to_string())
}

/// What a manifest asks for to get this version or one that is compatible: `0.1` of `0.1.7`.
fn series(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => format!("0.{minor}"),
        (major, _) => major.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_asks_for_what_is_compatible() {
        assert_eq!(series("0.1.7"), "0.1");
        assert_eq!(series("2.3.4"), "2");
    }

    #[test]
    fn what_cargo_says_of_a_requirement_is_read() {
        let words = "error: failed to select a version for the requirement `skep = \"^0.2\"`\n...";
        assert!(matches!(unmet(words.to_owned()), Wants::Unmet(required) if required == "^0.2"));
        assert!(matches!(unmet("error: no network".to_owned()), Wants::Nothing(_)));
    }
}
