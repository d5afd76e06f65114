//! The page of operations, from their specs.

use serde_json::Value;

use super::schema::{about, kind, named, tables};
use crate::console::Session;

/// What a server of the stock build, without a configuration, serves.
pub(super) fn page() -> String {
    let mut session = Session::start();
    session.serve("skep serve --store memory");
    let specs: Value = read(&session.output("skep operations --json"));
    let plugins: Value = read(&session.output("skep plugins --json"));
    let specs = specs["operations"].as_array().expect("a list of specs");
    let mut text =
        "What the stock build serves, by plugins. `skep operations NAME` tells the same of \
                    any server's, and `GET /v1/operations` has the schemas.\n"
            .to_owned();
    for plugin in plugins.as_array().expect("a list of plugins") {
        let served = plugin["operations"].as_array().expect("its operations");
        let specs: Vec<_> = specs.iter().filter(|spec| served.contains(&spec["name"])).collect();
        if specs.is_empty() {
            continue;
        }
        let (name, summary) = (word(&plugin["name"]), word(&plugin["summary"]));
        text.push_str(&format!("\n## {name}\n"));
        if !summary.is_empty() {
            text.push_str(&format!("\n{summary}\n"));
        }
        for spec in specs {
            text.push_str(&operation(spec));
        }
    }
    text
}

fn operation(spec: &Value) -> String {
    let mut text = format!("\n### {}\n\n{}\n", word(&spec["name"]), word(&spec["summary"]));
    if let Some(description) = spec["description"].as_str() {
        text.push_str(&format!("\n{description}\n"));
    }
    let traits = traits(spec);
    if !traits.is_empty() {
        text.push_str(&format!("\nIt's {}.\n", traits.join(", ")));
    }
    let input = &spec["input_schema"];
    match tables(input, &named(input)) {
        Some(tables) => text.push_str(&format!("\nInput:\n\n{tables}")),
        None => text.push_str("\nIt takes no input.\n"),
    }
    for (what, schema) in [("Emits", &spec["emits_schema"]), ("Result", &spec["output_schema"])] {
        if schema.is_null() {
            continue;
        }
        let (named, about) = (named(schema), about(schema));
        let about = if about.is_empty() { kind(schema, &named) } else { about };
        text.push_str(&format!("\n{what}: {about}\n"));
        if let Some(tables) = tables(schema, &named) {
            text.push_str(&format!("\n{tables}"));
        }
    }
    text
}

/// What holds of an operation beside its input and output.
fn traits(spec: &Value) -> Vec<String> {
    let hints =
        [("read_only", "read-only"), ("idempotent", "idempotent"), ("destructive", "destructive")];
    let hints = hints.iter().filter(|(hint, _)| spec["hints"][hint] == true);
    let mut traits: Vec<_> = hints.map(|(_, told)| (*told).to_owned()).collect();
    if let Some(instead) = spec["deprecated"].as_str() {
        traits.push(format!("deprecated: {instead}"));
    }
    traits
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}
