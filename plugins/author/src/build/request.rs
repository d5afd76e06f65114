//! What is asked of `skep build`, by flags or by a manifest.

use std::path::{Path, PathBuf};

use skep::nearest;

use super::manifest::{self, Manifest, ManifestError};
use super::with::{With, WithError};
use crate::server_crate::{PluginDependency, SERVER};
use crate::source::{CORE, Source, SourceArgs, SourceError};

/// The families of the stock build. What isn't among them is these tools.
const FAMILIES: [&str; 7] = ["exec", "hive", "infer", "model", "sqlite", "system", "worker"];

/// Where the server goes if nobody says.
const OUTPUT: &str = "skep";

/// A build, as it's asked for.
#[derive(Debug)]
pub(super) struct Request {
    with: Vec<With>,
    without: Vec<String>,
    /// What the plugins' paths are relative to.
    base: PathBuf,
    pub(super) source: Source,
    pub(super) output: PathBuf,
    /// The manifest's lock file, if there is a manifest.
    pub(super) lock: Option<PathBuf>,
}

/// Why it can't be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(
        "nothing is asked for: name a plugin by `--with`, or write a {}; see `skep build --help`",
        manifest::DEFAULT
    )]
    Nothing,
    #[error(
        "there is no stock family `{name}`{}; there are {}",
        .did_you_mean.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default(),
        FAMILIES.join(", ")
    )]
    UnknownFamily { name: String, did_you_mean: Option<&'static str> },
    #[error("`{0}` is what a server is made of, not a plugin; `--source` says which one is used")]
    NoPlugin(String),
    #[error("plugin `{0}` is asked for twice")]
    Twice(String),
    #[error("plugin `skep-{0}` is in the stock build: leave that one out by `--without {0}`")]
    Stock(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    With(#[from] WithError),
    #[error("the current directory: {0}")]
    Directory(#[from] std::io::Error),
}

impl Request {
    /// What flags ask for.
    pub(super) fn of_flags(
        mut with: Vec<With>,
        without: Vec<String>,
        registry: Option<&str>,
        source: &SourceArgs,
    ) -> Result<Self, RequestError> {
        for with in with.iter_mut().filter(|with| with.place.is_none()) {
            with.registry = registry.map(str::to_owned);
        }
        Ok(Self {
            with,
            without,
            base: std::env::current_dir()?,
            source: source.open()?,
            output: OUTPUT.into(),
            lock: None,
        })
    }

    /// What a manifest asks for, which `source` may override. Without a path: the one in the current
    /// directory.
    pub(super) fn of_manifest(
        path: Option<&Path>,
        source: &SourceArgs,
    ) -> Result<Self, RequestError> {
        let default = Path::new(manifest::DEFAULT);
        if path.is_none() && !default.exists() {
            return Err(RequestError::Nothing);
        }
        let path = std::path::absolute(path.unwrap_or(default))?;
        let Manifest { with, without, output, source: named } = Manifest::read(&path)?;
        let base = path.parent().unwrap_or(&path).to_owned();
        let source = match (&source.source, named) {
            (None, Some(named)) => Source::parse(&named, &base)?,
            _ => source.open()?,
        };
        let output = base.join(output.unwrap_or_else(|| OUTPUT.into()));
        Ok(Self { with, without, base, source, output, lock: Some(path.with_extension("lock")) })
    }

    /// The plugins of the server: the stock ones that aren't left out, and those that are asked for.
    pub(super) fn plugins(&self) -> Result<Vec<PluginDependency>, RequestError> {
        if let Some(name) = self.without.iter().find(|name| !FAMILIES.contains(&name.as_str())) {
            let did_you_mean = nearest(name, FAMILIES);
            return Err(RequestError::UnknownFamily { name: name.clone(), did_you_mean });
        }
        let families = FAMILIES.iter().filter(|family| !self.without.iter().any(|w| w == *family));
        let mut plugins = families
            .map(|family| PluginDependency::family(&self.source, family))
            .collect::<Result<Vec<_>, _>>()?;
        let stock = plugins.len();
        for with in &self.with {
            let name = &with.name;
            if [CORE, SERVER].contains(&name.as_str()) {
                return Err(RequestError::NoPlugin(name.clone()));
            }
            match plugins.iter().position(|plugin| plugin.name == *name) {
                None => plugins.push(with.dependency(&self.base)?),
                Some(at) if at >= stock => return Err(RequestError::Twice(name.clone())),
                Some(_) => {
                    let family = name.trim_start_matches("skep-").to_owned();
                    return Err(RequestError::Stock(family));
                }
            }
        }
        Ok(plugins)
    }
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;

    fn plugins(with: &[&str], without: &[&str]) -> Result<Vec<String>, String> {
        let with = with.iter().map(|text| text.parse().unwrap()).collect();
        let without = without.iter().map(|&name| name.to_owned()).collect();
        let source = SourceArgs { source: None };
        let request = Request::of_flags(with, without, None, &source).unwrap();
        let plugins = request.plugins().map_err(|error| error.to_string())?;
        Ok(plugins.into_iter().map(|plugin| plugin.name).collect())
    }

    #[test]
    fn the_families_are_those_of_the_stock_build() {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../server/Cargo.toml");
        let server: Table = std::fs::read_to_string(server).unwrap().parse().unwrap();
        let stock = server["features"]["stock"].as_array().unwrap();
        let mut families: Vec<_> = stock
            .iter()
            .filter_map(|feature| Value::as_str(feature)?.strip_prefix("dep:skep-"))
            .filter(|family| *family != "author")
            .collect();
        families.sort_unstable();
        assert_eq!(families, FAMILIES);
    }

    #[test]
    fn a_family_is_left_out_and_a_plugin_added() {
        let names = plugins(&["shout@1"], &["worker", "infer"]).unwrap();
        assert_eq!(
            names,
            ["skep-exec", "skep-hive", "skep-model", "skep-sqlite", "skep-system", "shout"]
        );
    }

    #[test]
    fn what_can_not_be_in_a_build_is_refused() {
        for (with, without, told) in [
            (vec![], vec!["wroker"], "no stock family `wroker`, did you mean `worker`?"), // typos:ignore
            (vec!["a", "a"], vec![], "`a` is asked for twice"),
            (vec!["skep"], vec![], "`skep` is what a server is made of"),
            (vec!["skep-worker"], vec![], "`--without worker`"),
        ] {
            let refused = plugins(&with, &without).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }
}
