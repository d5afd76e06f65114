//! `skep plugins`: what is linked into this program, plugins, stores and commands. It needs no server.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skep::plugin::{Linked, Package};

use crate::cli::{Error, print_line};
use crate::store;

#[derive(Args)]
pub(super) struct Plugins {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Tell for each crate the version of core that it was built on, and where it was built from
    #[arg(long)]
    sources: bool,
}

/// What a row is of.
const PLUGIN: &str = "plugin";
const STORE: &str = "store";
const COMMAND: &str = "command";

/// One plugin, the operations that a crate registers without one, a store, or a command.
struct Row {
    kind: &'static str,
    name: &'static str,
    package: Package,
    summary: &'static str,
    operations: Vec<String>,
}

impl Plugins {
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let plugins = plugins(&Linked::all());
        let is_empty = plugins.is_empty();
        let rows = plugins.into_iter().chain(stores()).chain(commands());
        if self.json {
            let rows: Vec<_> = rows
                .map(|row| {
                    json!({
                        "kind": row.kind,
                        "name": row.name,
                        "crate": row.package.name,
                        "version": row.package.version,
                        "core": skep::VERSION,
                        "source": row.package.source,
                        "summary": row.summary,
                        "operations": row.operations,
                    })
                })
                .collect();
            print_line(format_args!("{:#}", json!(rows)))?;
            return Ok(ExitCode::SUCCESS);
        }
        if is_empty {
            print_line("No plugin is linked: name each one in main.rs, `use my_plugin as _;`.")?;
        }
        for row in rows {
            let dash = if row.summary.is_empty() { "" } else { ": " };
            let kind = match row.kind {
                PLUGIN => String::new(),
                kind => format!(", a {kind}"),
            };
            let Row { name, package, summary, .. } = row;
            print_line(format_args!("{name} ({package}){kind}{dash}{summary}"))?;
            if self.sources {
                print_line(format_args!("  on skep {}, from {}", skep::VERSION, package.source))?;
            }
            for operation in row.operations {
                print_line(format_args!("  {operation}"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn plugins(linked: &Linked) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for plugin in &linked.plugins {
        let specs = (plugin.specs)();
        let operations =
            specs.into_iter().filter(|spec| !spec.hidden).map(|spec| spec.name).collect();
        rows.push(Row {
            kind: PLUGIN,
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
            kind: PLUGIN,
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

fn stores() -> impl Iterator<Item = Row> {
    store::linked().into_iter().map(|store| Row {
        kind: STORE,
        name: store.name,
        package: store.package,
        summary: store.summary,
        operations: Vec::new(),
    })
}

fn commands() -> impl Iterator<Item = Row> {
    Linked::commands().into_iter().map(|command| Row {
        kind: COMMAND,
        name: command.name,
        package: command.package,
        summary: command.summary,
        operations: Vec::new(),
    })
}
