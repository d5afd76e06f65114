//! Two cores in one build, and how to agree.
//!
//! A plugin registers in the copy of core that it was built on. With two copies in one program, the
//! plugins of the other would be missing without a word; so core has Cargo refuse such a build
//! (`links`). Cargo's words tell one place where it gave up. Here each plugin is looked at alone:
//! which core does it want?

mod probe;

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use crate::cargo::Package;
use crate::server_crate::ServerCrate;
use crate::source::{CORE, Source};

use self::probe::{Probe, ProbeError};

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
    /// Two of them, by itself. Cargo's words.
    Two(String),
    /// It can't be had even alone, for another reason. Cargo's words.
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

/// Looks for the plugins that want another core, if that is what Cargo's `words` are about.
pub(super) fn explain(
    words: &str,
    server: &ServerCrate<'_>,
) -> Result<Option<Conflict>, ProbeError> {
    if !probe::is_about_core(words) {
        return Ok(None);
    }
    let probe = Probe { directory: server.directory.join("probe"), source: server.source };
    let conflict = probe.conflict(&server.plugins);
    // It's of no use to anyone afterwards.
    let _ = fs::remove_dir_all(&probe.directory);
    conflict
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
            writeln!(f, "Plugin `{}` {}", plugin.name, plugin.wants)?;
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
            Self::Ours => write!(f, "goes with it."),
            Self::Other { core, .. } => write!(f, "wants {core}."),
            Self::Unmet(required) => write!(f, "wants {CORE} {required}, and there is none here."),
            Self::Two(words) => write!(f, "wants two by itself. Cargo says:\n{words}"),
            Self::Nothing(words) => write!(f, "can't be had even alone. Cargo says:\n{words}"),
        }
    }
}

impl Conflict {
    /// What would have a plugin agree, if it doesn't.
    fn advise(&self, plugin: &Plugin, f: &mut Formatter<'_>) -> fmt::Result {
        let Plugin { name, wants, agreeing, is_in_registry } = plugin;
        if matches!(wants, Wants::Ours | Wants::Nothing(_)) {
            return Ok(());
        }
        write!(f, "\n- {name}: ")?;
        if let Some(version) = agreeing {
            return write!(f, "ask for version {version}, `--with {name}@{version}`");
        }
        let ours = format!("`{CORE} = \"{}\"`", series(&self.core.version));
        match wants {
            _ if *is_in_registry => write!(f, "its registry has no version for {ours}")?,
            Wants::Other { asks: Some(Asks { through: Some(needed), text }), .. } => {
                write!(f, "{needed}, which it needs, asks for `{text}`; have that ask for {ours}")?;
            }
            Wants::Other { asks: Some(Asks { through: None, text }), .. } => {
                write!(f, "its Cargo.toml asks for `{text}`; have it ask for {ours}")?;
            }
            Wants::Two(_) => write!(f, "have all that it needs ask for {ours}")?,
            _ => write!(f, "have its Cargo.toml ask for {ours}")?,
        }
        let source = match wants {
            Wants::Other { core, .. } => source_of(core),
            _ => None,
        };
        match source {
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
}
