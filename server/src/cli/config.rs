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
            let given = given.map(|given| masked(given, table, &schema));
            Some(show_table(name, keys, given.as_ref().and_then(Value::as_object), &layers))
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
        let default = schema.get("default").filter(|default| !default.is_null());
        lines.push(match (given, default) {
            (Some(value), _) if *value == NOT_SHOWN => format!("# {key} = {NOT_SHOWN}"),
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

/// What stands in a secret's place.
const NOT_SHOWN: &str = "(not shown)";

/// `value` without what its schema, a part of `whole`, says is only to be written, not to be read.
fn masked(value: &Value, schema: &Value, whole: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#'))
        && let Some(schema) = whole.pointer(reference)
    {
        return masked(value, schema, whole);
    }
    match value {
        Value::Object(fields) if schema["writeOnly"] == true => {
            fields.keys().map(|key| (key.clone(), Value::from(NOT_SHOWN))).collect()
        }
        _ if schema["writeOnly"] == true => NOT_SHOWN.into(),
        Value::Object(fields) => {
            let of = |key: &str| match schema["properties"].get(key) {
                Some(schema) => schema,
                None => &schema["additionalProperties"],
            };
            fields.iter().map(|(key, value)| (key.clone(), masked(value, of(key), whole))).collect()
        }
        Value::Array(items) => {
            items.iter().map(|item| masked(item, &schema["items"], whole)).collect()
        }
        value => value.clone(),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_only_to_be_written_is_not_shown_however_deep() {
        let whole = json!({
            "additionalProperties": { "$ref": "#/$defs/A" },
            "$defs": { "A": { "properties": {
                "key": { "writeOnly": true },
                "env": { "writeOnly": true, "type": "object" },
                "list": { "items": { "$ref": "#/$defs/A" } },
            } } },
        });
        let given = json!({ "x": {
            "key": "s3cret", "env": { "TOKEN": "s3cret" }, "open": 1, "list": [{ "key": "s3cret" }],
        } });
        let shown = masked(&given, &whole, &whole);
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
        assert_eq!(shown["x"]["open"], 1);
        assert_eq!(shown["x"]["env"], json!({ "TOKEN": NOT_SHOWN }));
    }
}
