//! The gate: holds the counts of `bench/micro/benches/instructions.rs` against those in
//! `bench/instructions.json`.
//!
//! ```console
//! $ ./x gate            # fails where a count has changed
//! $ ./x gate --update   # accepts the counts as they are now
//! ```
//!
//! It's a ratchet: a count that has become much smaller fails, too, until the smaller one is stored;
//! else the next change could spend unseen what this one has saved.
//!
//! Some of what is counted is the C library's, and the compiler has its say: with another version of
//! either new counts may be due.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use serde_json::{Deserializer, Value};

/// Instructions by benchmark.
type Counts = BTreeMap<String, u64>;

/// The package of what is counted.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../micro");

const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.json");

/// How much a count may change, percent.
const TOLERANCE: f64 = 5.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let counts = match &arguments[..] {
        [] => measure()?,
        [update] if update == "--update" => {
            let counts = measure()?;
            fs::write(STORED, serde_json::to_string_pretty(&counts)? + "\n")?;
            counts
        }
        _ => return Err("usage: ./x gate [--update]".into()),
    };
    print_units(&counts);
    let stored = fs::read_to_string(STORED).map_err(|error| format!("{STORED}: {error}"))?;
    let faults = compare(&counts, &serde_json::from_str(&stored)?);
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\n{}\n\nto accept these counts: ./x gate --update", faults.join("\n"));
    Ok(ExitCode::FAILURE)
}

/// Runs the benchmarks.
fn measure() -> Result<Counts, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        // Where the repository's `.cargo/config.toml` applies, wherever this is run.
        .current_dir(PACKAGE)
        .args(["bench", "--quiet", "--bench", "instructions", "--", "--output-format=json"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the benchmarks failed".into());
    }
    // One summary after the other.
    Deserializer::from_slice(&output.stdout)
        .into_iter::<Value>()
        .map(|summary| count(&summary?).ok_or_else(|| "a summary without a count".into()))
        .collect()
}

/// A benchmark's name and its count, from gungraun's summary (schema 7).
fn count(summary: &Value) -> Option<(String, u64)> {
    let function = summary["function_name"].as_str()?;
    let id = summary["id"].as_str()?;
    let instructions = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    Some((format!("{function}.{id}"), instructions.as_u64()?))
}

/// Prints what the counts come to for one of what is counted many times.
fn print_units(counts: &Counts) {
    let of = |name: &str| counts.get(name).copied().unwrap_or_default() as f64;
    // What a job costs that emits nothing is in both.
    let event = |name: &str| {
        (of(&format!("{name}.events_11000")) - of(&format!("{name}.events_1000"))) / 10_000.0
    };
    let units = [
        ("emit, 12 bytes", event("emit")),
        ("emit, 12 bytes, with a reader", event("stream")),
        ("reading an event later", of("read_frames.events_10000") / 1_000_000.0),
        ("lookup among 10", of("lookup.among_10") / 1_000.0),
        ("lookup among 10,000", of("lookup.among_10000") / 1_000.0),
        ("create_job", of("create_job.with_3_fields") / 100.0),
        ("whole job, 3 events, read", of("whole_job.with_3_events") / 100.0),
    ];
    for (unit, instructions) in units {
        println!("{unit:30} {instructions:>9.1} instructions");
    }
}

/// What is wrong with the counts, a line each.
fn compare(counts: &Counts, stored: &Counts) -> Vec<String> {
    let gone = stored.keys().filter(|name| !counts.contains_key(*name));
    let mut faults: Vec<_> = gone.map(|name| format!("{name}: not counted any more")).collect();
    for (name, &now) in counts {
        let Some(&before) = stored.get(name) else {
            faults.push(format!("{name}: {now} instructions, none stored"));
            continue;
        };
        let change = 100.0 * (now as f64 / before as f64 - 1.0);
        if change.abs() > TOLERANCE {
            let verdict = if change > 0.0 { "too many" } else { "lower what is stored" };
            faults.push(format!(
                "{name}: {now} instructions, {before} stored, {change:+.1} %: {verdict}"
            ));
        }
    }
    faults
}
