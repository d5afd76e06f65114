//! `skep status`.

use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::{Error, ServerArgs, print_line};

/// The longest reason that is told of a hive's silence, characters.
const MAX_REASON: usize = 100;

#[derive(Args)]
pub(super) struct Status {
    /// Print JSON: what the operation `status` returns
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Status {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        let status = client.call("status", &json!({})).await?;
        if self.json {
            print_line(format_args!("{status:#}"))?;
        } else {
            print_line(tree(&status).trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The hives, each with what it has below it, and the jobs.
fn tree(status: &Value) -> String {
    let mut out = String::new();
    let hives = list(&status["hives"]);
    let width = hives.iter().map(|hive| text(&hive["id"]).len()).max().unwrap_or_default();
    for hive in hives {
        out += &format!("{:width$}  {}\n", text(&hive["id"]), describe(hive));
        let workers = list(&hive["workers"]).iter().map(worker);
        let models = list(&hive["models"]).iter().map(model);
        let below: Vec<_> = workers.chain(models).collect();
        for (at, line) in below.iter().enumerate() {
            let branch = if at + 1 == below.len() { "└─" } else { "├─" };
            out += &format!("{branch} {line}\n");
        }
    }
    // The one that asks is of no interest.
    let live = status["jobs"]["live"].as_u64().unwrap_or_default().saturating_sub(1);
    let queued = status["jobs"]["queued"].as_u64().unwrap_or_default();
    out + &format!("jobs: {live}, of which {queued} wait\n")
}

/// How a hive is, in a line.
fn describe(hive: &Value) -> String {
    let mut parts = vec![text(&hive["state"]).to_owned()];
    if let Some(failure) = hive["failure"].as_str() {
        parts.push(failure.chars().take(MAX_REASON).collect());
    }
    if hive["state"] == "offline" {
        // What it told last says nothing of now.
        return parts.join(", ");
    }
    let capacity = &hive["capacity"];
    let number = |name: &str| capacity[name].as_u64();
    if let (Some(cores), Some(free), Some(total)) =
        (number("cores"), number("memory_free"), number("memory_total"))
    {
        let cores = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
        parts.push(cores);
        parts.push(format!("{} of {} free", HumanBytes(free), HumanBytes(total)));
    }
    parts.extend(list(&capacity["gpus"]).iter().map(|gpu| {
        let free = gpu["memory_free"].as_u64().unwrap_or_default();
        format!("{} ({} free)", text(&gpu["name"]), HumanBytes(free))
    }));
    parts.join(", ")
}

fn worker(worker: &Value) -> String {
    let jobs = match worker["jobs"].as_u64().unwrap_or_default() {
        0 => String::new(),
        1 => ", 1 job".to_owned(),
        jobs => format!(", {jobs} jobs"),
    };
    let field = |name: &str| text(&worker[name]);
    format!("worker {}  {}  {}{jobs}", field("id"), field("model"), field("state"))
}

fn model(model: &Value) -> String {
    let bytes = model["bytes"].as_u64().unwrap_or_default();
    let quantisation = text(&model["quantisation"]);
    let line = format!("model {}  {}  {quantisation}", text(&model["id"]), HumanBytes(bytes));
    line.trim_end().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_a_line_for_everything() {
        let status = json!({
            "hives": [
                {
                    "id": "localhost", "state": "online",
                    "capacity": {
                        "cores": 2, "memory_free": 1 << 30, "memory_total": 4_u64 << 30,
                        "gpus": [{ "name": "RTX", "memory_free": 1 << 20, "memory_total": 1 << 30 }],
                    },
                    "workers": [{ "id": "w-1", "model": "m", "state": "busy", "jobs": 2 }],
                    "models": [{ "id": "m", "bytes": 2048, "quantisation": "Q4_1" }],
                },
                { "id": "attic", "state": "offline", "failure": "it can't be reached" },
            ],
            "jobs": { "live": 4, "queued": 1 },
        });
        let expected = "\
localhost  online, 2 cores, 1.00 GiB of 4.00 GiB free, RTX (1.00 MiB free)
├─ worker w-1  m  busy, 2 jobs
└─ model m  2.00 KiB  Q4_1
attic      offline, it can't be reached
jobs: 3, of which 1 wait
";
        assert_eq!(tree(&status), expected);
    }
}
