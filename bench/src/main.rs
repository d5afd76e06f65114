//! Skep's speed, measured beside its peers: `./x bench`.
//!
//! Every server is a process of its own that starts anew for each turn, and all contenders take turns: what slows the
//! machine down for a while slows all of them. What counts is the median over the rounds, and its ratio to the floor's.

mod client;
mod contender;
mod count;
mod goals;
mod plot;
mod report;
mod rounds;
mod server;
mod suite;
mod sweep;
mod work;

use std::collections::BTreeSet;
use std::fs;
use std::path::{self, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::contender::{Contender, Place};
use crate::rounds::Figures;
use crate::suite::{Item, Size};

/// Whatever went wrong, in words: it ends the measurement.
type Error = Box<dyn std::error::Error + Send + Sync>;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Measure Skep beside its peers.
#[derive(Parser)]
struct Options {
    /// What is measured
    #[arg(value_enum, default_value_t = Suite::Quick)]
    suite: Suite,
    /// Only the works whose names these are, such as `stream`, `jobs16`; of the plots `events`, `stored`
    works: Vec<String>,
    /// How often each contender has its turn [default: 5 in full, else 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these contenders, such as `floor,skep`; of the plots always all
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    only: Vec<String>,
    /// The stock build
    #[arg(long)]
    skep: PathBuf,
    /// The example of a custom server
    #[arg(long)]
    custom: PathBuf,
    /// The directory of the programs that were built with this one: the peers, and `many`
    #[arg(long)]
    peers: PathBuf,
    /// The directory of llama.cpp's bindings for Python
    #[arg(long)]
    llama: PathBuf,
    /// The directory of the models
    #[arg(long)]
    models: PathBuf,
    /// Where what is measured goes, and what servers write: on a disk
    #[arg(long)]
    out: PathBuf,
}

/// What is measured, and how long.
#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// The works, for daily use: under three minutes
    Quick,
    /// The works, to quote
    Full,
    /// What things cost as their number grows, drawn: half an hour
    Plots,
    /// Nothing: Skep is put to work, so that a build which counts what it does learns from it
    Train,
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
        // The others are there only if they were asked for.
        custom: path::absolute(&options.custom)?,
        peers: path::absolute(&options.peers)?,
        llama: path::absolute(&options.llama)?,
        models: path::absolute(&options.models)?,
        scratch: fs::canonicalize(scratch)?,
    };
    match options.suite {
        Suite::Quick => measure_works(options, &place, Size::Quick, 3).await,
        Suite::Full => measure_works(options, &place, Size::Full, 5).await,
        Suite::Plots => measure_sweeps(options, &place, 3).await,
        Suite::Train => train(&place).await,
    }
}

/// Skep does what it's measured by, each work once.
async fn train(place: &Place) -> Result<()> {
    for item in suite::training() {
        for contender in item.contenders.iter().filter(|one| one.is_stock()) {
            eprintln!("  {}: {}", item.name, contender.name());
            item.work.sample(*contender, place).await?;
        }
    }
    Ok(())
}

async fn measure_works(
    options: &Options,
    place: &Place,
    size: Size,
    usual_rounds: usize,
) -> Result<()> {
    let rounds = options.rounds.unwrap_or(usual_rounds);
    let items = suite::wanted("work", suite::items(size), &options.works, |item| item.name)?;
    let contenders = items.iter().flat_map(|item| item.contenders).copied();
    let contenders = contenders.collect::<BTreeSet<_>>().into_iter().collect();
    let contenders = suite::wanted("contender", contenders, &options.only, |one| one.name())?;
    let (mut goals, mut results) = (Vec::new(), Vec::new());
    for item in items {
        let figures = take_turns(&item, place, rounds, &contenders).await?;
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
async fn take_turns(
    item: &Item,
    place: &Place,
    rounds: usize,
    contenders: &[Contender],
) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 1..=rounds {
        for contender in item.contenders.iter().filter(|one| contenders.contains(one)) {
            eprintln!("  {} {round}/{rounds}: {}", item.name, contender.name());
            let sample = item.work.sample(*contender, place).await;
            let sample = sample.map_err(|error| format!("{}: {error}", contender.name()))?;
            figures.add(contender.name(), sample);
        }
    }
    Ok(figures)
}

/// Draws each sweep once it's measured.
async fn measure_sweeps(options: &Options, place: &Place, usual_rounds: usize) -> Result<()> {
    let rounds = options.rounds.unwrap_or(usual_rounds);
    let out = options.out.join("plots");
    fs::create_dir_all(&out)?;
    let mut results = Vec::new();
    for sweep in suite::wanted("plot", sweep::all(), &options.works, |sweep| sweep.name)? {
        let curves = sweep.measure(place, rounds).await?;
        println!("{}", curves.tables());
        curves.draw(&out)?;
        results.push(curves.json());
    }
    let results = json!({ "rounds": rounds, "sweeps": results });
    fs::write(out.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    Ok(())
}
