//! `skep config`: what a server would be configured with, and what it could be.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::cli::{Error, print_line};
use crate::config::{FileArgs, Layers, ServeFlags, schema};

#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check the configuration, and tell all that is wrong with it
    Check(Given),
    /// Show what a server would run with, and where each value comes from
    Show(Given),
    /// Print the JSON Schema of the configuration, with that of each plugin
    Schema,
}

/// What a server would be given.
#[derive(Args)]
struct Given {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    flags: ServeFlags,
}

impl Config {
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        match self.action {
            Action::Check(given) => {
                given.layers()?.read()?;
                print_line("the configuration is right")?;
            }
            Action::Show(given) => print_line(given.show()?)?,
            Action::Schema => print_line(format_args!("{:#}", schema::whole()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Given {
    fn layers(&self) -> Result<Layers, Error> {
        Ok(Layers::of(&self.file, &self.flags)?)
    }

    /// The configuration as a TOML file: each key that there is, with its value and where that comes
    /// from.
    fn show(&self) -> Result<String, Error> {
        let layers = self.layers()?;
        layers.read()?;
        let (values, schema) = (layers.values()?, schema::whole());
        let properties = |schema: &Value| schema["properties"].as_object().cloned();
        let mut tables = Vec::new();
        for (name, table) in properties(&schema).unwrap_or_default() {
            if name == "plugins" {
                let plugins = properties(&table).unwrap_or_default();
                tables.extend(
                    plugins.into_iter().map(|(plugin, table)| (format!("{name}.{plugin}"), table)),
                );
            } else {
                tables.push((name, table));
            }
        }
        let shown = tables.iter().filter_map(|(name, table)| {
            let keys = table["properties"].as_object()?;
            let given = values.pointer(&format!("/{}", name.replace('.', "/")));
            Some(show_table(name, keys, given.and_then(Value::as_object), &layers))
        });
        Ok(shown.collect::<Vec<_>>().join("\n\n"))
    }
}

fn show_table(
    name: &str,
    keys: &Map<String, Value>,
    given: Option<&Map<String, Value>>,
    layers: &Layers,
) -> String {
    let mut lines = vec![format!("[{name}]")];
    for (key, schema) in keys {
        let path = format!("{name}.{key}");
        let given = given.and_then(|table| table.get(key));
        let is_secret = schema["writeOnly"] == true;
        let default = schema.get("default").filter(|default| !default.is_null());
        lines.push(match (given, default) {
            (Some(_), _) if is_secret => format!("# {key} = (not shown)"),
            (Some(value), _) => {
                let source = layers.source(&path).unwrap_or_default();
                format!("{key} = {}  # {source}", inline(value))
            }
            (None, Some(default)) => format!("{key} = {}  # default", inline(default)),
            (None, None) => format!("# {key} = (not set)"),
        });
    }
    lines.join("\n")
}

/// A value in one line of TOML.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                // A JSON text is one of TOML, too.
                format!("{} = {}", Value::from(key.as_str()), inline(value))
            });
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}
