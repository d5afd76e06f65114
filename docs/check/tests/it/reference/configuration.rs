//! The page of the configuration, from its schema.

use serde_json::Value;

use super::schema::{about, named, tables};
use crate::skep;

/// Every table and key that the stock build takes.
pub(super) fn page() -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let schema = skep::run(directory.path(), &["config", "schema"]).expect("there's a schema");
    let schema: Value = serde_json::from_str(&schema).expect("it's JSON");
    let tables = &schema["properties"];
    let mut text = "`skep.toml`, by tables. A duration is written as `\"30s\"` or `\"1h 30m\"`, a size as \
                    `\"64MiB\"` or in bytes. [How to configure a server](../howto/configure.md) says what wins \
                    over what.\n"
        .to_owned();
    for name in ["server", "jobs", "operations"] {
        text.push_str(&table(name, &tables[name]));
    }
    let plugins = tables["plugins"]["properties"].as_object().expect("the plugins' tables");
    for (name, schema) in plugins {
        text.push_str(&table(&format!("plugins.{name}"), schema));
    }
    text
}

fn table(name: &str, schema: &Value) -> String {
    let keys = tables(schema, &named(schema));
    let (about, keys) = (about(schema), keys.unwrap_or_else(|| "It has no keys.\n".to_owned()));
    let about = if about.is_empty() { about } else { format!("{about}\n\n") };
    format!("\n## [{name}]\n\n{about}{}", keys.replace("| field |", "| key |"))
}
