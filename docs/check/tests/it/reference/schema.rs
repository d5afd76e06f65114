//! JSON Schema as tables for people.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Schemas by name, which others refer to.
pub(super) type Named = BTreeMap<String, Value>;

/// The schemas that `schema` brings with it.
pub(super) fn named(schema: &Value) -> Named {
    let defined = schema["$defs"].as_object().cloned().unwrap_or_default();
    defined.into_iter().collect()
}

/// A table of an object's fields, and then one for each object that they are made of. `None` if it
/// has no fields.
pub(super) fn tables(schema: &Value, named: &Named) -> Option<String> {
    let mut text = table(schema, named)?;
    for (name, schema) in named {
        if let Some(table) = table(schema, named) {
            text.push_str(&format!("\n`{name}`: {}\n\n{table}", about(schema)));
        }
    }
    Some(text)
}

fn table(schema: &Value, named: &Named) -> Option<String> {
    let fields = schema["properties"].as_object().filter(|fields| !fields.is_empty())?;
    let mut text = "| field | type | default | |\n|---|---|---|---|\n".to_owned();
    for (name, field) in fields {
        let required =
            schema["required"].as_array().is_some_and(|all| all.contains(&name[..].into()));
        let default = if required { "required".to_owned() } else { default(field) };
        let row = [format!("`{name}`"), kind(field, named), default, about(field)];
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    Some(text)
}

/// The default of a field, as it's written.
pub(super) fn default(field: &Value) -> String {
    match &field["default"] {
        Value::Null => String::new(),
        default => format!("`{default}`"),
    }
}

/// What a schema says of itself, in one line of a table.
pub(super) fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let deprecated = if schema["deprecated"] == true { "Deprecated. " } else { "" };
    format!(
        "{deprecated}{}",
        text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
    )
}

/// The type of a value, in words.
pub(super) fn kind(schema: &Value, named: &Named) -> String {
    let Some(schema) = schema.as_object() else { return "any".to_owned() };
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let name = path.rsplit('/').next().unwrap_or_default();
        return match named.get(name) {
            Some(target) if target["properties"].is_object() => format!("`{name}`"),
            Some(target) => kind(target, named),
            None => "any".to_owned(),
        };
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(kinds) = schema.get(several).and_then(Value::as_array) {
            let kinds = kinds.iter().filter(|one| one["type"] != "null");
            return any_of(kinds.map(|one| kind(one, named)));
        }
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null());
        return any_of(values.map(|value| format!("`{value}`")));
    }
    match schema.get("x-text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => match schema.get("type") {
            Some(Value::String(one)) => of_type(one, schema, named),
            Some(Value::Array(types)) => {
                let types = types.iter().filter_map(Value::as_str).filter(|one| *one != "null");
                any_of(types.map(|one| of_type(one, schema, named)))
            }
            _ => "any".to_owned(),
        },
    }
}

fn of_type(name: &str, schema: &Map<String, Value>, named: &Named) -> String {
    match name {
        "string" => "text".to_owned(),
        "integer" | "number" => format!("{name}{}", range(schema)),
        "array" => match schema.get("items") {
            Some(items) if items.is_object() => format!("list of {}", kind(items, named)),
            _ => "list".to_owned(),
        },
        "object" => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("table of {}", kind(values, named)),
            _ => "object".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// What a number must be. The limits of its type in Rust say nothing to anyone.
fn range(schema: &Map<String, Value>) -> String {
    let largest = [u64::MAX, u64::from(u32::MAX), u64::from(u16::MAX)];
    let maximum = schema
        .get("maximum")
        .filter(|maximum| maximum.as_u64().is_none_or(|maximum| !largest.contains(&maximum)));
    let above = schema.get("exclusiveMinimum");
    let minimum = schema.get("minimum").filter(|minimum| maximum.is_some() || **minimum != 0);
    match (minimum, above, maximum) {
        (Some(minimum), _, Some(maximum)) => format!(", {minimum} to {maximum}"),
        (None, Some(above), Some(maximum)) => format!(", above {above}, to {maximum}"),
        (Some(minimum), ..) => format!(", {minimum} or more"),
        (None, _, Some(maximum)) => format!(", to {maximum}"),
        (None, Some(above), None) => format!(", above {above}"),
        (None, None, None) => String::new(),
    }
}

fn any_of(kinds: impl Iterator<Item = String>) -> String {
    kinds.collect::<Vec<_>>().join(" or ")
}
