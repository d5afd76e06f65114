//! `skep operations`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::{Error, ServerArgs, print_line};

#[derive(Args)]
pub(super) struct Operations {
    /// Show this operation, with its input's fields
    name: Option<String>,
    /// Print JSON: the specs, schemas included
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Operations {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        let path = match &self.name {
            Some(name) => format!("/v1/operations/{name}"),
            None => "/v1/operations".to_owned(),
        };
        let answer: Value = client.show(&path).await?;
        match (&self.name, self.json) {
            (_, true) => print_line(format_args!("{answer:#}"))?,
            (Some(_), false) => print_line(describe(&answer).trim_end())?,
            (None, false) => print_line(list(&answer["operations"]).trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line an operation.
fn list(operations: &Value) -> String {
    let lines: Vec<(&str, String)> = operations
        .as_array()
        .into_iter()
        .flatten()
        .map(|spec| (text(&spec["name"]), summary(spec)))
        .collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.iter().map(|(name, summary)| format!("{name:width$}  {summary}\n")).collect()
}

/// What it does, and what to use instead if it's not to be used any more.
fn summary(spec: &Value) -> String {
    let summary = text(&spec["summary"]);
    match spec["deprecated"].as_str() {
        Some(instead) => format!("{summary} (deprecated: {instead})"),
        None => summary.to_owned(),
    }
}

/// One operation, for a person who wants to run it.
fn describe(spec: &Value) -> String {
    let mut out = format!("{}: {}\n", text(&spec["name"]), summary(spec));
    if let Some(description) = spec["description"].as_str() {
        out += &format!("\n{description}\n");
    }
    let schema = &spec["input_schema"];
    let fields: Vec<(String, String)> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, field)| (name.clone(), describe_field(schema, name, field)))
        .collect();
    if fields.is_empty() {
        return out + "\nIt takes no input.\n";
    }
    out += "\nInput:\n";
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, description) in fields {
        out += &format!("  {name:width$}  {description}\n");
    }
    out
}

fn describe_field(schema: &Value, name: &str, field: &Value) -> String {
    let required =
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let default = &field["default"];
    let need = match (required, default) {
        (true, _) => "required".to_owned(),
        (false, Value::Null) => "optional".to_owned(),
        (false, default) => format!("default {default}"),
    };
    let types = match &field["type"] {
        Value::String(one) => one.clone(),
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    };
    let description = text(&field["description"]).lines().collect::<Vec<_>>().join(" ");
    let line = format!("{types}, {need}: {description}");
    line.trim_end_matches([':', ' ']).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
