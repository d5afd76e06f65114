//! The schema of the whole configuration: the server's tables, and those of all that is linked.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use skep::plugin::Linked;
use skep::schema::input_schema;
use skep::{JobsConfig, OperationsConfig};

use crate::config::ServerConfig;
use crate::store;

/// The schema (2020-12) that `skep.toml` is held against.
pub(crate) fn whole() -> Value {
    let mut plugins = Map::new();
    for store in store::linked() {
        plugins.insert(store.name.to_owned(), (store.config_schema)());
    }
    for plugin in Linked::all().plugins {
        let mut table = (plugin.config_schema)();
        if let Some(table) = table.as_object_mut() {
            let keys = table.entry("properties").or_insert_with(|| json!({}));
            let enabled = json!({
                "type": "boolean",
                "default": true,
                "description": "Whether the plugin is started and its operations are served.",
            });
            keys.as_object_mut().map(|keys| keys.insert("enabled".to_owned(), enabled));
        }
        plugins.insert(plugin.name.to_owned(), table);
    }
    let plugins = plugins.into_iter().map(|(name, table)| {
        let resource = format!("plugins:{name}");
        (name, resource_of(&resource, table))
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of a Skep server",
        "type": "object",
        "properties": {
            "server": table::<ServerConfig>("server"),
            "jobs": table::<JobsConfig>("jobs"),
            "operations": table::<OperationsConfig>("operations"),
            "plugins": {
                "description": "A table for each plugin and each store that is linked.",
                "type": "object",
                "properties": plugins.collect::<Map<_, _>>(),
                "additionalProperties": false,
            },
        },
        "additionalProperties": false,
    })
}

fn table<T: JsonSchema>(name: &str) -> Value {
    resource_of(name, input_schema::<T>())
}

/// `schema` as a resource of its own within a larger one: what it refers to as `#/$defs/...` is its
/// own (JSON Schema 2020-12, 9.3).
fn resource_of(name: &str, mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.insert("$id".to_owned(), format!("urn:skep:config:{name}").into());
    }
    schema
}
