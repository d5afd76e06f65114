//! The configuration: `skep.toml`, then `SKEP_*` variables, then flags; the later wins.

mod layers;
pub(crate) mod schema;

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use skep::schema::DurationText;
use skep::{JobsConfig, OperationsConfig};

pub(crate) use self::layers::Layers;
use crate::listen::Listen;
use crate::logging::LogFormat;

/// All of a server's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) jobs: JobsConfig,
    pub(crate) operations: OperationsConfig,
    pub(crate) plugins: Map<String, Value>,
}

/// `[server]`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Where it listens: an address such as `127.0.0.1:7833`, or `stdin`.
    #[schemars(with = "String")]
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
    /// The header by which a proxy tells who asks, such as `x-forwarded-user`. Whoever reaches the server
    /// past the proxy can claim to be anyone.
    #[serde(deserialize_with = "header_name")]
    pub(crate) caller_header: Option<String>,
    /// The longest body of a request, bytes.
    pub(crate) max_body: usize,
    /// How many connections there may be at once.
    pub(crate) max_connections: usize,
    /// How long a request's head, and then its body, may take to arrive.
    pub(crate) request_timeout: DurationText,
    /// How long running jobs may go on when the server is asked to stop.
    pub(crate) drain: DurationText,
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
            caller_header: None,
            max_body: 4 * 1024 * 1024,
            max_connections: 4096,
            request_timeout: DurationText(Duration::from_secs(30)),
            drain: DurationText(Duration::from_secs(30)),
            log_format: LogFormat::Text,
        }
    }
}

/// Reads the name of a header.
fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name: Option<String> = Deserialize::deserialize(deserializer)?;
    match name.as_deref().map(HeaderName::try_from).transpose() {
        Ok(Some(name)) if name.as_str().starts_with("skep-") => {
            Err(D::Error::custom("headers of that prefix are what clients tell of their jobs"))
        }
        Ok(name) => Ok(name.map(|name| name.as_str().to_owned())),
        Err(_) => Err(D::Error::custom("it's no name of a header")),
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
    /// All that is wrong, a line each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    #[error("a plugin's schema of its configuration is none: {0}")]
    BadSchema(String),
}

impl Config {
    /// Reads the configuration: the file, or `skep.toml` if there is one, the environment, and
    /// `flags`, which are `[server]`'s.
    pub(crate) fn load(file: &FileArgs, flags: &impl Serialize) -> Result<Self, ConfigError> {
        Layers::of(file, flags)?.read()
    }
}
