//! The configuration: `skep.toml`, then `SKEP_*` variables, then flags; the later wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Profile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skep::{JobsConfig, duration, nearest};

use crate::listen::Listen;
use crate::logging::LogFormat;

/// The file that is read when none is named and it's there.
const DEFAULT_FILE: &str = "skep.toml";

/// All of a server's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) jobs: JobsConfig,
    pub(crate) plugins: Map<String, Value>,
}

/// `[server]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Where plugins keep their files.
    pub(crate) data_dir: PathBuf,
    /// Where jobs are kept: a store's name, or `NAME:...`.
    pub(crate) store: Option<String>,
    /// Whether it may listen beyond this machine though nobody has to say who he is.
    pub(crate) insecure: bool,
    /// Host names that it's reached by, beside `localhost` and IP addresses.
    pub(crate) hosts: Vec<String>,
    /// Origins of web pages that may use it, beside its own.
    pub(crate) origins: Vec<String>,
    /// The longest body of a request, bytes.
    pub(crate) max_body: usize,
    /// How many connections there may be at once.
    pub(crate) max_connections: usize,
    /// How long a request's head, and then its body, may take to arrive.
    #[serde(deserialize_with = "duration")]
    pub(crate) request_timeout: Duration,
    /// How long running jobs may go on when the server is asked to stop.
    #[serde(deserialize_with = "duration")]
    pub(crate) drain: Duration,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: Listen::Address(([127, 0, 0, 1], 7833).into()),
            data_dir: PathBuf::from("skep-data"),
            store: None,
            insecure: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            max_body: 4 * 1024 * 1024,
            max_connections: 4096,
            request_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            log_format: LogFormat::Text,
        }
    }
}

/// The flags that say where a server keeps things, for every command that has to know.
#[derive(Debug, clap::Args, Serialize)]
pub(crate) struct PlaceFlags {
    /// Directory of the store's and the plugins' files [default: skep-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where jobs are kept, one of `skep plugins` [default: sqlite if it's linked, or else memory]
    #[arg(long, value_name = "NAME[:ADDRESS]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
}

/// The flags of `skep serve`, which win over file and environment.
#[derive(Debug, clap::Args, Serialize)]
pub(crate) struct ServeFlags {
    /// Address to listen on, or `stdin`: the socket that is its standard input [default:
    /// 127.0.0.1:7833]
    #[arg(long, value_name = "ADDR:PORT|stdin")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<Listen>,
    #[command(flatten)]
    #[serde(flatten)]
    place: PlaceFlags,
    /// Allow an address beyond this machine, though anyone who reaches it may use it
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// How log lines are written [default: text]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// Which configuration file a command reads.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// Configuration file [default: skep.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG")]
    config: Option<PathBuf>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("there is no configuration file {0}")]
    NoFile(String),
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads the configuration: the file, or `skep.toml` if there is one, the environment, and
    /// `flags`, which are `[server]`'s.
    pub(crate) fn load(file: &FileArgs, flags: &impl Serialize) -> Result<Self, ConfigError> {
        let file = file.config.as_deref();
        if let Some(file) = file.filter(|file| !file.is_file()) {
            return Err(ConfigError::NoFile(file.display().to_string()));
        }
        // `SKEP_SERVER__LISTEN` is `server.listen`. Names without `__` are not the configuration's.
        let environment =
            Env::prefixed("SKEP_").filter(|key| key.as_str().contains("__")).split("__");
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.is_file().then_some(default));
        let figment = file
            .map_or_else(Figment::new, |file| Figment::from(Toml::file_exact(file)))
            .merge(environment)
            .merge(Serialized::from(flags, Profile::Default).key("server"));
        figment.extract().map_err(|error| ConfigError::Invalid(explain(error)))
    }
}

/// Every error of the configuration in our words, a line each.
fn explain(errors: figment::Error) -> String {
    let lines: Vec<_> = errors.into_iter().map(|error| explain_one(&error)).collect();
    lines.join("\n")
}

fn explain_one(error: &figment::Error) -> String {
    let source = error.metadata.as_ref().map(|metadata| {
        let name = &metadata.name;
        metadata.source.as_ref().map_or_else(|| name.to_string(), ToString::to_string)
    });
    let at = source.map(|source| format!("{source}: ")).unwrap_or_default();
    match &error.kind {
        Kind::UnknownField(key, expected) => {
            // The path ends in the key itself where figment knows it.
            let table: Vec<_> = error.path.iter().filter(|part| *part != key).cloned().collect();
            let table = match table.join(".") {
                table if table.is_empty() => "at the top level".to_owned(),
                table => format!("in [{table}]"),
            };
            let hint = match nearest(key, expected.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", expected.join(", ")),
            };
            format!("{at}unknown key `{key}` {table}, {hint}")
        }
        kind => {
            let key = error.path.join(".");
            let key = if key.is_empty() { key } else { format!("`{key}`: ") };
            format!("{at}{key}{kind}")
        }
    }
}
