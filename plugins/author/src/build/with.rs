//! A plugin that is asked for: `CRATE[@VERSION][=PATH]`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::{Table, Value};

use crate::server_crate::PluginDependency;
use crate::source::git;

/// A plugin that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct With {
    /// The package's name.
    pub(super) name: String,
    /// What versions will do, as Cargo writes it. None: any.
    pub(super) version: Option<String>,
    /// A path or a git URL. None: it's in a registry.
    pub(super) place: Option<String>,
    /// Which registry, by the name that Cargo's configuration has for it. None: the public one.
    pub(super) registry: Option<String>,
}

/// Why a plugin can't be asked for like that.
#[derive(Debug, thiserror::Error)]
pub(super) enum WithError {
    #[error("`{0}` is no crate's name: those have letters, digits, `-` and `_`")]
    Name(String),
    #[error("`{0}` has an `@` and no version after it")]
    NoVersion(String),
    #[error("`{0}` has a `=` and no path after it")]
    NoPlace(String),
    #[error("plugin `{name}`: can't read {}: {reason}", .path.display())]
    Unreadable { name: String, path: PathBuf, reason: io::Error },
    #[error("plugin `{name}`: the crate in {} is called `{found}`: ask for that", .path.display())]
    OtherName { name: String, path: PathBuf, found: String },
}

impl FromStr for With {
    type Err = WithError;

    fn from_str(text: &str) -> Result<Self, WithError> {
        let (front, place) = match separator(text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let (name, version) = match front.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (front, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err(WithError::Name(name.to_owned()));
        }
        if version == Some("") {
            return Err(WithError::NoVersion(text.to_owned()));
        }
        if place == Some("") {
            return Err(WithError::NoPlace(text.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            place: place.map(str::to_owned),
            registry: None,
        })
    }
}

/// Where the place begins: at a `=` that is no part of a version such as `=1.2.3` or `>=1, <=2`.
fn separator(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len()).find(|&at| bytes[at] == b'=' && !b"@=<> ".contains(&bytes[at - 1]))
}

impl With {
    /// The plugin as a server crate depends on it. Paths are relative to `base`.
    pub(super) fn dependency(&self, base: &Path) -> Result<PluginDependency, WithError> {
        let mut dependency = match &self.place {
            None => Table::new(),
            Some(place) => match git(place) {
                Some(repository) => repository,
                None => self.path(&base.join(place))?,
            },
        };
        let mut say = |key: &str, value: &str| {
            dependency.insert(key.to_owned(), Value::String(value.to_owned()));
        };
        match &self.version {
            Some(version) => say("version", version),
            None if self.place.is_none() => say("version", "*"),
            None => {}
        }
        if let Some(registry) = &self.registry {
            say("registry", registry);
        }
        Ok(PluginDependency::new(&self.name, dependency))
    }

    fn path(&self, path: &Path) -> Result<Table, WithError> {
        let name = || self.name.clone();
        // The manifest is what can be lacking: a directory may be there and be something else.
        let manifest = path.join("Cargo.toml");
        let read = || Ok((manifest.canonicalize()?, fs::read_to_string(&manifest)?));
        let (manifest, text) = read().map_err(|reason| WithError::Unreadable {
            name: name(),
            path: manifest.clone(),
            reason,
        })?;
        let path = manifest.parent().unwrap_or(path);
        // What else is wrong with a manifest, Cargo says.
        let parsed = text.parse::<Table>().unwrap_or_default();
        let found = parsed.get("package").and_then(|package| package.get("name")?.as_str());
        if let Some(found) = found.filter(|found| *found != self.name) {
            let (path, found) = (path.to_owned(), found.to_owned());
            return Err(WithError::OtherName { name: name(), path, found });
        }
        let path = Value::String(path.display().to_string());
        Ok(Table::from_iter([("path".to_owned(), path)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_version_and_place_are_told_apart() {
        for (text, name, version, place) in [
            ("shout", "shout", None, None),
            ("shout@1.2", "shout", Some("1.2"), None),
            ("shout=../shout", "shout", None, Some("../shout")),
            ("shout@1.2=/a=b", "shout", Some("1.2"), Some("/a=b")),
            ("shout@=1.2.3", "shout", Some("=1.2.3"), None),
            ("shout@>=1, <=2=.", "shout", Some(">=1, <=2"), Some(".")),
            ("shout=git@host:a/b", "shout", None, Some("git@host:a/b")),
        ] {
            let with: With = text.parse().unwrap();
            let parts = (&*with.name, with.version.as_deref(), with.place.as_deref());
            assert_eq!(parts, (name, version, place), "{text}");
        }
    }

    #[test]
    fn what_is_no_plugin_is_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "`` is no crate's name"),
            ("=path", "`=path` is no crate's name"),
            ("sh out", "`sh out` is no crate's name"),
            ("shout@", "no version"),
            ("shout=", "no path"),
        ] {
            let refused = text.parse::<With>().unwrap_err().to_string();
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    #[test]
    fn a_repository_is_one_by_its_url() {
        let with: With = "shout@1=https://forge.example/shout#abc".parse().unwrap();
        let dependency = with.dependency(Path::new("/")).unwrap().dependency.to_string();
        let told = r#"{ git = "https://forge.example/shout", rev = "abc", version = "1" }"#;
        assert_eq!(dependency, told);
    }
}
