//! The run: from its seed to its verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Result;
use crate::client::Client;
use crate::incarnation::{Faulty, Plan, World, cut_off};
use crate::ledger::Ledger;
use crate::load::Load;
use crate::order::Kind;
use crate::place::Place;
use crate::report::Report;
use crate::server::{Home, Server};
use crate::verify::Verifier;

/// How long clients may take to get what they wait for, once nothing troubles the server: jobs that
/// stood beside one that took servers down have their last attempt one by one.
const PATIENCE: Duration = Duration::from_mins(20);

/// The longest run, minutes: a week.
const MAX_MINUTES: f64 = 7.0 * 24.0 * 60.0;

/// The last servers' clock, seconds from the true time: later than any before, so that everything
/// that waits for its time has it.
const LAST_CLOCK: i64 = 3 * 3600;

/// Kill a server again and again while clients use it, and look for broken promises.
#[derive(Parser)]
#[command(name = "soak drive")]
struct Options {
    /// For how long
    #[arg(default_value = "1", value_parser = parse_minutes)]
    minutes: Duration,
    /// What all that is random is drawn from [default: a random one]
    #[arg(long)]
    seed: Option<u64>,
    /// Where libfaketime is; without it clocks aren't set
    #[arg(long)]
    faketime: Option<PathBuf>,
    /// Where the numbers go
    #[arg(long, default_value = "target/soak.json")]
    report: PathBuf,
}

fn parse_minutes(text: &str) -> std::result::Result<Duration, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.0..=MAX_MINUTES).contains(minutes));
    let Some(minutes): Option<f64> = minutes else {
        return Err(format!("it's a number of minutes, {MAX_MINUTES} at most, such as 0.5"));
    };
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// `soak drive`.
pub(crate) fn main() -> ExitCode {
    let options = Options::parse_from(std::env::args().skip(1));
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("seed {seed}: repeat with --seed {seed}");
    match run(&options, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept. If not, what the servers left is kept too.
fn run(options: &Options, seed: u64) -> Result<bool> {
    let place = Place::new()?;
    let directory = PathBuf::from("target").join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let directory = std::path::absolute(directory)?;
    let home = Home {
        data: place.path().join("data"),
        faketime: options.faketime.clone(),
        directory: directory.clone(),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let driven = runtime.block_on(async {
        tokio::select! {
            driven = drive(options, seed, &home, &place) => Some(driven),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match driven {
        Some(Ok(true)) | None => std::fs::remove_dir_all(directory)?,
        Some(_) => {
            let log = directory.join("server.log");
            eprintln!("kept (seed {seed}): {}, and {}", log.display(), place.keep());
        }
    }
    driven.unwrap_or_else(|| Err("interrupted".into()))
}

async fn drive(options: &Options, seed: u64, home: &Home, place: &Place) -> Result<bool> {
    let begun = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let ledger = Arc::new(Ledger::default());
    let (url, urls) = watch::channel(String::new());
    let (stop, stopped) = watch::channel(false);
    let client = Client::new(urls)?;
    let load = Load { client: client.clone(), ledger: ledger.clone() };
    let clients = tokio::spawn(load.clone().run(rng.fork(), stopped));
    let world = World { home, place, load: &load };

    home.set_clock(0)?;
    for number in 0.. {
        if begun.elapsed() >= options.minutes {
            break;
        }
        let plan = Plan::draw(&mut rng, number, home, place);
        let (at, accepted) = (begun.elapsed().as_secs_f64(), ledger.accepted());
        let starting = Instant::now();
        let server = world.start(plan.faulty)?;
        println!(
            "{at:6.1} s  server {number:<3} up in {:4} ms, {accepted} jobs so far: {plan}",
            starting.elapsed().as_millis()
        );
        url.send_replace(server.url.clone());
        let again = tokio::spawn(load.clone().ask_again(rng.fork()));
        world.live(server, plan, &mut rng).await?;
        url.send_replace(String::new());
        cut_off(again).await?;
    }

    stop.send_replace(true);
    println!("{:6.1} s  the last jobs end", begun.elapsed().as_secs_f64());
    home.set_clock(LAST_CLOCK)?;
    let mut server = world.start(Faulty::default())?;
    url.send_replace(server.url.clone());
    if let Ok(done) = world.attend(&mut server, &url, timeout(PATIENCE, clients)).await? {
        done??;
    } else {
        let what = format!("clients still wait {PATIENCE:?} after the last kill");
        ledger.violate_as_a_whole("lost", what);
    }
    let accepted = ledger.accepted();
    let verifier = Verifier { client, ledger: ledger.clone() };
    world.attend(&mut server, &url, verifier.settle()).await?;
    println!("{:6.1} s  all are read", begun.elapsed().as_secs_f64());
    let jobs = verifier.list().await?;
    let stored = jobs.len();
    let poison = jobs.iter().filter(|job| job.operation == Kind::POISON).count();
    let hashes = verifier.check(jobs).await?;
    stop_and_check(server, home, &ledger).await?;
    println!("{:6.1} s  and read again", begun.elapsed().as_secs_f64());
    let server = world.start(Faulty::default())?;
    url.send_replace(server.url.clone());
    verifier.compare(&hashes).await?;
    stop_and_check(server, home, &ledger).await?;

    for what in ledger.counters.untested() {
        ledger.violate_as_a_whole("untested", what);
    }
    if accepted == 0 {
        ledger.violate_as_a_whole("untested", "no job was accepted".to_owned());
    }
    let violations = ledger.violations();
    let rows = [
        ("seed", json!(seed)),
        ("seconds", json!(begun.elapsed().as_secs())),
        ("jobs accepted", json!(accepted)),
        ("jobs in the store", json!(stored)),
        ("poisonous ones among them", json!(poison)),
    ];
    let report = Report::new(&rows, &ledger.counters, &violations);
    println!("\n{}", report.table());
    if let Some(directory) = options.report.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&options.report, format!("{:#}\n", report.json(&violations)))?;
    Ok(violations.is_empty())
}

/// Stops a server that nothing troubles, and looks at what it leaves.
async fn stop_and_check(server: Server, home: &Home, ledger: &Ledger) -> Result<()> {
    let status = server.stop().await?.status;
    if !status.success() {
        ledger.violate_as_a_whole("wrong exits", format!("with nothing to do: {status}"));
    }
    match home.check()? {
        Ok(looked_at) => println!("          {looked_at}"),
        Err(damage) => ledger.violate_as_a_whole("damaged stores", damage.to_string()),
    }
    Ok(())
}
