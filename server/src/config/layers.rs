//! Where the configuration comes from: a file, the environment and flags, one over the other.

use std::path::Path;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Metadata, Profile, Source};
use serde::Serialize;
use serde_json::{Map, Value};
use skep::schema::{InputError, InputSchema};

use crate::config::{Config, ConfigError, FileArgs, schema};

/// The file that is read when none is named and it's there.
const DEFAULT_FILE: &str = "skep.toml";

/// What environment variables of the configuration begin with.
const PREFIX: &str = "SKEP_";

/// The configuration as it was given, the later layers over the earlier ones.
pub(crate) struct Layers(Figment);

impl Layers {
    /// The file, or `skep.toml` if there is one, the environment, and `flags`, which are `[server]`'s.
    pub(crate) fn of(file: &FileArgs, flags: &impl Serialize) -> Result<Self, ConfigError> {
        let file = file.config.as_deref();
        if let Some(file) = file.filter(|file| !file.is_file()) {
            return Err(ConfigError::NoFile(file.display().to_string()));
        }
        // `SKEP_SERVER__LISTEN` is `server.listen`. Names without `__` are not the configuration's.
        let environment =
            Env::prefixed(PREFIX).filter(|key| key.as_str().contains("__")).split("__");
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.is_file().then_some(default));
        let mut figment = file
            .map_or_else(Figment::new, |file| Figment::from(Toml::file_exact(file)))
            .merge(environment);
        let flags = Serialized::from(flags, Profile::Default).key("server");
        // A table without keys would hide whatever else stands there.
        let given = Figment::from(&flags).extract_inner::<Map<String, Value>>("server");
        if given.is_ok_and(|given| !given.is_empty()) {
            figment = figment.merge(flags);
        }
        Ok(Self(figment))
    }

    /// All that was given.
    pub(crate) fn values(&self) -> Result<Value, ConfigError> {
        self.0.extract().map_err(|error| {
            let lines = error.into_iter().map(|error| error.to_string());
            ConfigError::Invalid(lines.collect())
        })
    }

    /// Holds what was given against the schema of the configuration, and reads it.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        let values = self.values()?;
        let schema = InputSchema::compile(&schema::whole()).map_err(ConfigError::BadSchema)?;
        if let Err(errors) = schema.check(&values) {
            let lines = errors.iter().map(|error| self.explain(error));
            return Err(ConfigError::Invalid(lines.collect()));
        }
        // What a schema can't say, such as what an address is.
        serde_path_to_error::deserialize(values).map_err(|error| {
            let key = error.path().to_string();
            let source = self.source(&key).map(|source| format!("{source}: ")).unwrap_or_default();
            ConfigError::Invalid(vec![format!("{source}`{key}`: {}", error.inner())])
        })
    }

    /// Where the value of `key`, such as `server.listen`, comes from. `None` if it's not given.
    pub(crate) fn source(&self, key: &str) -> Option<String> {
        self.0.find_metadata(key).map(|metadata| told(metadata, key))
    }

    fn explain(&self, error: &InputError) -> String {
        let parts: Vec<_> = error.pointer.split('/').skip(1).collect();
        let key = parts.join(".");
        // What is missing, or is within a list, comes from where the table around it does.
        let known = (1..=parts.len()).rev().map(|end| parts[..end].join("."));
        let source = known.into_iter().find_map(|key| self.source(&key));
        let at = source.map(|source| format!("{source}: ")).unwrap_or_default();
        match (parts.as_slice(), error.detail.strip_prefix("is not a field")) {
            (["plugins", _], Some(hint)) => {
                format!("{at}`{key}` configures a plugin that is not linked{hint}")
            }
            (_, Some(hint)) => format!("{at}`{key}` is not a key of the configuration{hint}"),
            _ => format!("{at}`{key}` {}", error.detail),
        }
    }
}

fn told(metadata: &Metadata, key: &str) -> String {
    match &metadata.source {
        Some(Source::File(path)) => path.display().to_string(),
        // Flags come from the program itself.
        Some(Source::Code(_)) => {
            let name = key.rsplit('.').next().unwrap_or(key);
            format!("--{}", name.replace('_', "-"))
        }
        _ => format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()),
    }
}
