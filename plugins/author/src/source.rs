//! Where Skep's own crates come from: a source tree on this machine, or a git repository.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Args;
use toml::{Table, Value};

/// The workspace's manifest as this program was built: what holds for a git source, whose tree
/// nobody has fetched yet.
const BUILT_FROM: &str = include_str!("../../../Cargo.toml");

/// The crate of a source tree that is core.
pub(crate) const CORE: &str = "skep";

/// Which source a command takes.
#[derive(Args)]
pub(crate) struct SourceArgs {
    /// Where Skep's own crates come from: a source tree, or a git repository, `URL` or `URL#REV`
    /// (a commit or a tag) [default: the source tree that this program was built from]
    #[arg(long, value_name = "PATH|GIT-URL")]
    pub(crate) source: Option<String>,
}

impl SourceArgs {
    /// The source that is asked for.
    pub(crate) fn open(&self) -> Result<Source, SourceError> {
        match &self.source {
            Some(source) => Source::parse(source, Path::new("")),
            None => Source::built_from(),
        }
    }
}

/// A source of Skep's own crates.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    location: Location,
    /// The workspace's manifest.
    manifest: Table,
}

#[derive(Clone, Debug)]
enum Location {
    /// The root of a source tree, absolute.
    Tree(PathBuf),
    /// A git repository: `URL` or `URL#REV`.
    Git(String),
}

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(
        "the source tree that this program was built from, {}, can't be read ({reason}): name \
         another by `--source PATH` or `--source GIT-URL`", .root.display()
    )]
    Gone { root: PathBuf, reason: io::Error },
    #[error(
        "`--source {}`: can't read {}: {reason}; it takes the root of a source tree of Skep, or a \
         git URL", .root.display(), .root.join("Cargo.toml").display()
    )]
    Unreadable { root: PathBuf, reason: io::Error },
    #[error("{}: {reason}", .root.join("Cargo.toml").display())]
    NotToml { root: PathBuf, reason: toml::de::Error },
    #[error("{tree} is no source tree of Skep: its workspace has no dependency `{name}`")]
    NoCrate { tree: String, name: String },
}

impl Source {
    /// The source tree that this program was built from.
    pub(crate) fn built_from() -> Result<Self, SourceError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        match root.canonicalize() {
            Ok(root) => Self::tree(root),
            Err(reason) => Err(SourceError::Gone { root, reason }),
        }
    }

    /// A source by what a person writes: a git URL with or without a `#REV`, or a path, which is
    /// relative to `base`.
    pub(crate) fn parse(text: &str, base: &Path) -> Result<Self, SourceError> {
        if git(text).is_none() {
            let root = base.join(text);
            return match root.canonicalize() {
                Ok(root) => Self::tree(root),
                Err(reason) => Err(SourceError::Unreadable { root, reason }),
            };
        }
        let manifest = BUILT_FROM.parse();
        let manifest = manifest.map_err(|reason| SourceError::NotToml {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            reason,
        })?;
        Ok(Self { location: Location::Git(text.to_owned()), manifest })
    }

    fn tree(root: PathBuf) -> Result<Self, SourceError> {
        let manifest = match fs::read_to_string(root.join("Cargo.toml")) {
            Ok(manifest) => manifest,
            Err(reason) => return Err(SourceError::Unreadable { root, reason }),
        };
        let manifest = match manifest.parse() {
            Ok(manifest) => manifest,
            Err(reason) => return Err(SourceError::NotToml { root, reason }),
        };
        let source = Self { location: Location::Tree(root), manifest };
        source.dependency(CORE)?;
        Ok(source)
    }

    /// A dependency of the workspace as a crate elsewhere writes it: `{ path = "/.../core" }` for one
    /// of Skep's own, `{ version = "1", features = [...] }` for another.
    pub(crate) fn dependency(&self, name: &str) -> Result<Value, SourceError> {
        let at = ["workspace", "dependencies", name];
        let mut dependency = match self.value(&at) {
            Some(Value::Table(dependency)) => dependency.clone(),
            Some(other) => return Ok(other.clone()),
            None => {
                let tree = self.to_string();
                return Err(SourceError::NoCrate { tree, name: name.to_owned() });
            }
        };
        if let Some(Value::String(path)) = dependency.remove("path") {
            // The tree has one version of it, whatever that is.
            dependency.remove("version");
            dependency.extend(self.location.of(&path));
        }
        Ok(Value::Table(dependency))
    }

    /// Where one of Skep's own crates is, as a `[patch]` has it: without features.
    pub(crate) fn location(&self, name: &str) -> Result<Value, SourceError> {
        let dependency = self.dependency(name)?;
        let keys = dependency.as_table().into_iter().flatten();
        let keys = keys.filter(|(key, _)| matches!(key.as_str(), "path" | "git" | "rev"));
        Ok(Value::Table(keys.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }

    /// A value of the workspace's manifest: `["workspace", "package", "edition"]`.
    pub(crate) fn value(&self, at: &[&str]) -> Option<&Value> {
        let (first, rest) = at.split_first()?;
        rest.iter().try_fold(self.manifest.get(*first)?, |value, key| value.get(*key))
    }

    /// The root of the tree, if it's on this machine.
    pub(crate) fn root(&self) -> Option<&Path> {
        match &self.location {
            Location::Tree(root) => Some(root),
            Location::Git(_) => None,
        }
    }

    /// Begins a lock file that isn't there yet with the tree's, if there is one.
    pub(crate) fn begin_lock(&self, path: &Path) -> io::Result<()> {
        let Some(root) = self.root() else { return Ok(()) };
        if path.exists() {
            return Ok(());
        }
        match fs::copy(root.join("Cargo.lock"), path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Location {
    /// Where the crate in the directory `path` of the tree is, as a dependency has it.
    fn of(&self, path: &str) -> Table {
        match self {
            Self::Tree(root) => {
                let path = Value::String(root.join(path).display().to_string());
                Table::from_iter([("path".to_owned(), path)])
            }
            Self::Git(text) => git(text).unwrap_or_default(),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Tree(root) => write!(f, "{}", root.display()),
            Location::Git(text) => f.write_str(text),
        }
    }
}

/// What a dependency says of a git repository that a person names as `URL` or `URL#REV`; none if
/// it's no git URL, which `git@host:path` is too.
pub(crate) fn git(text: &str) -> Option<Table> {
    if !text.contains("://") && !text.starts_with("git@") {
        return None;
    }
    let pair = |key: &str, value: &str| (key.to_owned(), Value::String(value.to_owned()));
    Some(match text.split_once('#') {
        Some((url, rev)) => Table::from_iter([pair("git", url), pair("rev", rev)]),
        None => Table::from_iter([pair("git", text)]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_of_a_tree_is_taken_by_its_path_and_keeps_its_options() {
        let source = Source::built_from().unwrap();
        let server = source.dependency("skep-server").unwrap();
        assert_eq!(server["path"].as_str(), Some(&*format!("{source}/server")));
        assert_eq!(server["default-features"].as_bool(), Some(false));
        assert_eq!(source.dependency("thiserror").unwrap().as_str(), Some("2"));
    }

    #[test]
    fn a_crate_of_a_repository_is_taken_by_its_url_and_commit() {
        let source = Source::parse("https://forge.example/skep#v1", Path::new("")).unwrap();
        let core = source.dependency(CORE).unwrap();
        assert_eq!(core.to_string(), r#"{ git = "https://forge.example/skep", rev = "v1" }"#);
        assert_eq!(source.to_string(), "https://forge.example/skep#v1");
    }

    #[test]
    fn a_directory_that_is_no_source_tree_is_refused_by_name() {
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().to_str().unwrap();
        let refused = Source::parse(path, Path::new("")).unwrap_err().to_string();
        assert!(refused.contains(path) && refused.contains("--source"), "{refused}");

        fs::write(elsewhere.path().join("Cargo.toml"), "[package]\nname = \"x\"\n").unwrap();
        let refused = Source::parse(path, Path::new("")).unwrap_err().to_string();
        assert!(refused.ends_with("its workspace has no dependency `skep`"), "{refused}");
    }
}
