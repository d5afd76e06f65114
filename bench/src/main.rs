//! Skep's speed, measured beside its peers: `./x bench`.
//!
//! Every server is a process of its own that starts anew for each turn, and all contenders take turns: what slows the
//! machine down for a while slows all of them. What counts is the median over the rounds, and its ratio to the floor's.

mod client;
mod contender;
mod count;
mod report;
mod rounds;
mod server;
mod suite;
mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::contender::Place;
use crate::rounds::Figures;
use crate::suite::{Item, Size};

/// Whatever went wrong, in words: it ends the measurement.
type Error = Box<dyn std::error::Error + Send + Sync>;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Measure Skep beside its peers.
#[derive(Parser)]
struct Options {
    /// How much is measured
    #[arg(value_enum, default_value_t = Size::Quick)]
    size: Size,
    /// Only the works whose names these are, such as `stream`, `jobs16`
    works: Vec<String>,
    /// How often each contender has its turn [default: 3 in quick, 5 in full]
    #[arg(long)]
    rounds: Option<usize>,
    /// The stock build
    #[arg(long)]
    skep: PathBuf,
    /// The example of a custom server
    #[arg(long)]
    custom: PathBuf,
    /// The directory of the peers' programs
    #[arg(long)]
    peers: PathBuf,
    /// Where what is measured goes, and what servers write: on a disk
    #[arg(long)]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<()> {
    // For ten thousand streams; the servers get the same.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let scratch = options.out.join("servers");
    fs::create_dir_all(&scratch)?;
    let place = Place {
        skep: fs::canonicalize(&options.skep)?,
        custom: fs::canonicalize(&options.custom)?,
        peers: fs::canonicalize(&options.peers)?,
        scratch: fs::canonicalize(scratch)?,
    };
    let usual = if options.size == Size::Quick { 3 } else { 5 };
    let rounds = options.rounds.unwrap_or(usual);
    let items = suite::wanted(suite::items(options.size), &options.works, |item| item.name)?;
    let (mut goals, mut results) = (Vec::new(), Vec::new());
    for item in items {
        let figures = take_turns(&item, &place, rounds).await?;
        println!("{}", report::table(&item.title, &figures));
        goals.extend(report::goals(&item, &figures));
        results.push(report::json(item.name, &item.title, &figures));
    }
    if !goals.is_empty() {
        println!("{}\n{}", report::GOALS, goals.join("\n"));
    }
    let results = json!({ "rounds": rounds, "works": results, "goals": goals });
    fs::write(options.out.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    Ok(())
}

/// Every contender has its turn, so many times.
async fn take_turns(item: &Item, place: &Place, rounds: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=rounds {
        for contender in item.contenders {
            eprintln!("  {} {round}/{rounds}: {}", item.name, contender.name());
            let sample = item.work.sample(*contender, place).await;
            let sample = sample.map_err(|error| format!("{}: {error}", contender.name()))?;
            figures.add(contender.name(), sample);
        }
    }
    Ok(figures)
}
