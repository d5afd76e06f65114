//! The configuration: `skep.toml`, then `SKEP_*` variables, then flags; the later wins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Profile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skep::{JobsConfig, duration, nearest};

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
    pub(crate) listen: SocketAddr,
    /// Where plugins keep their files.
    pub(crate) data_dir: PathBuf,
    /// Where jobs are kept.
    pub(crate) store: StoreKind,
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
            listen: SocketAddr::from(([127, 0, 0, 1], 7833)),
            data_dir: PathBuf::from("skep-data"),
            store: StoreKind::Memory,
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

/// Where jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// In memory: they end with the process.
    Memory,
}

/// The flags of `skep serve`, which win over file and environment.
#[derive(Debug, Default, clap::Args, Serialize)]
pub(crate) struct Flags {
    /// Address to listen on [default: 127.0.0.1:7833]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Directory for the plugins' files [default: skep-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where jobs are kept [default: memory]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreKind>,
    /// Allow an address beyond this machine, though anyone who reaches it may use it
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// How log lines are written [default: text]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("there is no configuration file {0}")]
    NoFile(String),
    #[error("{0}")]
    Invalid(String),
    #[error(
        "refusing to listen on {0}: anyone who reaches that address could use this server; listen \
         on 127.0.0.1, or pass --insecure if you mean it"
    )]
    Exposed(SocketAddr),
}

impl Config {
    /// Reads the configuration: `file`, or `skep.toml` if there is one, the environment, `flags`.
    pub(crate) fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
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
        let config: Self =
            figment.extract().map_err(|error| ConfigError::Invalid(explain(error)))?;
        if !config.server.listen.ip().is_loopback() && !config.server.insecure {
            return Err(ConfigError::Exposed(config.server.listen));
        }
        Ok(config)
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
