//! `skep plugins`: what is linked into this program. It needs no server.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skep::plugin::{Linked, Package};

use crate::cli::Error;

#[derive(Args)]
pub(super) struct Plugins {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One plugin, or the operations that a crate registers without one.
struct Row {
    name: &'static str,
    package: Package,
    summary: &'static str,
    operations: Vec<String>,
}

impl Plugins {
    #[allow(clippy::unnecessary_wraps, reason = "every command returns the same")]
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let rows = rows(&Linked::all());
        if self.json {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "name": row.name,
                        "crate": row.package.name,
                        "version": row.package.version,
                        "summary": row.summary,
                        "operations": row.operations,
                    })
                })
                .collect();
            println!("{:#}", json!(rows));
            return Ok(ExitCode::SUCCESS);
        }
        if rows.is_empty() {
            println!("No plugin is linked: name each one in main.rs, `use my_plugin as _;`.");
        }
        for row in rows {
            let dash = if row.summary.is_empty() { "" } else { ": " };
            println!("{} ({}){dash}{}", row.name, row.package, row.summary);
            for operation in row.operations {
                println!("  {operation}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(linked: &Linked) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for plugin in &linked.plugins {
        let specs = (plugin.specs)();
        let operations =
            specs.into_iter().filter(|spec| !spec.hidden).map(|spec| spec.name).collect();
        rows.push(Row {
            name: plugin.name,
            package: plugin.package,
            summary: plugin.summary,
            operations,
        });
    }
    let mut free: BTreeMap<&str, Row> = BTreeMap::new();
    for operation in &linked.operations {
        let handler = (operation.handler)();
        let package = operation.package;
        let row = free.entry(package.name).or_insert_with(|| Row {
            name: package.name,
            package,
            summary: "",
            operations: Vec::new(),
        });
        if !handler.spec().hidden {
            row.operations.push(handler.spec().name.clone());
        }
    }
    rows.extend(free.into_values());
    for row in &mut rows {
        row.operations.sort();
    }
    rows
}
