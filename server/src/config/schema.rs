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
            // What isn't used needn't be complete.
            if let Some(required) = table.remove("required") {
                let disabled = json!({ "enabled": { "const": false } });
                let is_disabled = json!({ "properties": disabled, "required": ["enabled"] });
                table.insert("if".to_owned(), is_disabled);
                table.insert("else".to_owned(), json!({ "required": required }));
            }
        }
        plugins.insert(plugin.name.to_owned(), table);
    }
    let plugins = plugins.into_iter().map(|(name, table)| {
        let at = format!("/properties/plugins/properties/{name}");
        (name, moved(table, &at))
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
    moved(input_schema::<T>(), &format!("/properties/{name}"))
}

/// `schema` as it has to be at the place `at` of a larger one: what it refers to goes with it.
fn moved(mut schema: Value, at: &str) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    move_references(&mut schema, at);
    schema
}

fn move_references(schema: &mut Value, at: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, at)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().and_then(|reference| reference.strip_prefix('#')) {
                    Some(path) if key == "$ref" => *value = format!("#{at}{path}").into(),
                    _ => move_references(value, at),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_refers_to_goes_with_it() {
        let schema =
            json!({ "$schema": "x", "items": [{ "$ref": "#/$defs/A" }], "$defs": { "A": {} } });
        let moved = moved(schema, "/properties/p");
        let expected =
            json!({ "items": [{ "$ref": "#/properties/p/$defs/A" }], "$defs": { "A": {} } });
        assert_eq!(moved, expected);
    }
}
