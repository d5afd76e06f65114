//! `skep-build.toml`: a build that can be repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skep::nearest;
use toml::{Table, Value};

use super::with::{With, WithError};

/// The manifest that is read if none is named.
pub(super) const DEFAULT: &str = "skep-build.toml";

const KEYS: [&str; 4] = ["output", "source", "with", "without"];
const WITH_KEYS: [&str; 6] = ["git", "name", "path", "registry", "rev", "version"];

/// What a manifest asks for. Its paths are relative to its own directory.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) with: Vec<With>,
    pub(super) without: Vec<String>,
    pub(super) output: Option<PathBuf>,
    pub(super) source: Option<String>,
}

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub(super) struct ManifestError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error(
        "unknown key `{key}`{}; there are {known}",
        .did_you_mean.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
    )]
    UnknownKey { key: String, did_you_mean: Option<&'static str>, known: String },
    #[error("in `with`: {0}")]
    With(#[from] WithError),
    #[error("in `with`: plugin `{0}` has both `path` and `git`, and can be from one of them")]
    TwoPlaces(String),
    #[error("in `with`: plugin `{0}` has a `rev`, which goes with `git`")]
    RevWithoutGit(String),
    #[error("in `with`: `{0}` is neither `\"CRATE[@VERSION][=PATH]\"` nor a table with a `name`")]
    NoPlugin(Value),
}

/// The manifest as TOML has it.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    with: Vec<Value>,
    #[serde(default)]
    without: Vec<String>,
    output: Option<PathBuf>,
    source: Option<String>,
}

/// A plugin as a table: `{ name = "shout", path = "../shout" }`.
#[derive(Deserialize)]
struct RawWith {
    name: String,
    version: Option<String>,
    path: Option<String>,
    git: Option<String>,
    rev: Option<String>,
    registry: Option<String>,
}

impl Manifest {
    /// Reads the manifest at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ManifestError> {
        let read = || {
            let text = fs::read_to_string(path)?;
            let table = text.parse::<Table>()?;
            check_keys(&table, &KEYS)?;
            // From the text once more, so that an error tells the line.
            let raw: Raw = toml::from_str(&text)?;
            let with = raw.with.into_iter().map(with).collect::<Result<_, _>>()?;
            Ok(Self { with, without: raw.without, output: raw.output, source: raw.source })
        };
        read().map_err(|reason| ManifestError { path: path.to_owned(), reason })
    }
}

fn with(entry: Value) -> Result<With, Reason> {
    let table = match entry {
        Value::String(text) => return Ok(text.parse()?),
        Value::Table(table) if table.contains_key("name") => table,
        other => return Err(Reason::NoPlugin(other)),
    };
    check_keys(&table, &WITH_KEYS)?;
    let raw: RawWith = table.try_into()?;
    let place = match (raw.path, raw.git, raw.rev) {
        (Some(_), Some(_), _) => return Err(Reason::TwoPlaces(raw.name)),
        (_, None, Some(_)) => return Err(Reason::RevWithoutGit(raw.name)),
        (_, Some(url), Some(rev)) => Some(format!("{url}#{rev}")),
        (path, git, None) => path.or(git),
    };
    // The name is checked as it is on the command line.
    let named: With = raw.name.parse()?;
    if named.name != raw.name {
        return Err(WithError::Name(raw.name).into());
    }
    Ok(With { version: raw.version, place, registry: raw.registry, ..named })
}

fn check_keys(table: &Table, known: &[&'static str]) -> Result<(), Reason> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    Err(Reason::UnknownKey {
        key: key.clone(),
        did_you_mean: nearest(key, known.iter().copied()),
        known: known.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(DEFAULT);
        fs::write(&path, text).unwrap();
        Manifest::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn plugins_are_texts_or_tables() {
        let manifest = read(
            r#"
            with = [
                "shout@1.2",
                { name = "hush", version = "2", path = "../hush" },
                { name = "hum", git = "https://forge.example/hum", rev = "abc" },
                { name = "sing", version = "3", registry = "ours" },
            ]
            without = ["worker"]
            output = "bin/skep"
            "#,
        )
        .unwrap();
        let mut sing: With = "sing@3".parse().unwrap();
        sing.registry = Some("ours".to_owned());
        let texts = ["shout@1.2", "hush@2=../hush", "hum=https://forge.example/hum#abc"];
        let with: Vec<With> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(manifest.with[..3], with);
        assert_eq!(manifest.with[3], sing);
        assert_eq!(manifest.without, ["worker"]);
        assert_eq!(manifest.output.as_deref(), Some(Path::new("bin/skep")));
    }

    #[test]
    fn what_is_wrong_is_named_and_mended() {
        for (text, told) in [
            ("wiht = []", "unknown key `wiht`, did you mean `with`?"), // typos:ignore
            ("colour = 1", "unknown key `colour`; there are output, source, with, without"),
            ("with = [{ name = \"a\", paht = \".\" }]", "did you mean `path`?"), // typos:ignore
            ("with = [{ path = \".\" }]", "nor a table with a `name`"),
            ("with = [{ name = \"a\", path = \".\", git = \"u\" }]", "both `path` and `git`"),
            ("with = [{ name = \"a\", rev = \"b\" }]", "which goes with `git`"),
            ("with = [{ name = \"a@1\" }]", "`a@1` is no crate's name"),
            ("with = [\"a@\"]", "no version"),
            ("with = 1", "line 1"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(told) && refused.contains(DEFAULT), "{text}: {refused}");
        }
    }
}
