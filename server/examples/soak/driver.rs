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

use crate::client::Client;
use crate::incarnation::{Faulty, Plan, World};
use crate::ledger::Ledger;
use crate::load::Load;
use crate::order::Kind;
use crate::place::Place;
use crate::report::Report;
use crate::server::{Home, Server};
use crate::verify::Verifier;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long clients may take to get what they wait for, once nothing troubles the server.
const PATIENCE: Duration = Duration::from_secs(90);

/// The last servers' clock, seconds from the true time: later than any before, so that everything
/// that waits for its time has it.
const LAST_CLOCK: i64 = 3 * 3600;

/// Kill a server again and again while clients use it, and look for broken promises.
#[derive(Parser)]
#[command(name = "soak drive")]
struct Options {
    /// For how long
    #[arg(default_value_t = 1.0)]
    minutes: f64,
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
    let kept = runtime.block_on(drive(options, seed, &home, &place));
    if let Ok(true) = kept {
        std::fs::remove_dir_all(directory)?;
        place.remove()?;
    } else {
        let (log, data) = (directory.join("server.log"), place.path());
        eprintln!("kept: {} and {} (seed {seed})", log.display(), data.display());
    }
    kept
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

    let span = Duration::from_secs_f64(options.minutes * 60.0);
    home.set_clock(0)?;
    for number in 0.. {
        if begun.elapsed() >= span {
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
        drop(again);
    }

    stop.send_replace(true);
    println!("{:6.1} s  the last jobs end", begun.elapsed().as_secs_f64());
    home.set_clock(LAST_CLOCK)?;
    let mut server = world.start(Faulty::default())?;
    url.send_replace(server.url.clone());
    if world.attend(&mut server, &url, timeout(PATIENCE, clients)).await?.is_err() {
        let what = format!("clients still wait {PATIENCE:?} after the last kill");
        ledger.violate_as_a_whole("lost", what);
    }
    let accepted = ledger.accepted();
    let poison = ledger.accepted_of(Kind::Poison);
    let verifier = Verifier { client, ledger: ledger.clone() };
    world.attend(&mut server, &url, verifier.settle()).await?;
    println!("{:6.1} s  all are read", begun.elapsed().as_secs_f64());
    let jobs = verifier.list().await?;
    let stored = jobs.len();
    let hashes = verifier.check(jobs).await?;
    stop_and_check(server, home, &ledger).await?;
    println!("{:6.1} s  and read again", begun.elapsed().as_secs_f64());
    let server = world.start(Faulty::default())?;
    url.send_replace(server.url.clone());
    verifier.compare(&hashes).await?;
    stop_and_check(server, home, &ledger).await?;

    let violations = ledger.violations();
    let rows = [
        ("seed", json!(seed)),
        ("seconds", json!(begun.elapsed().as_secs())),
        ("jobs accepted", json!(accepted)),
        ("poisonous ones among them", json!(poison)),
        ("jobs in the store", json!(stored)),
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
    let status = server.stop().await?;
    if !status.success() {
        ledger.violate_as_a_whole("wrong exits", format!("with nothing to do: {status}"));
    }
    match home.check()? {
        Ok(looked_at) => println!("          {looked_at}"),
        Err(damage) => ledger.violate_as_a_whole("damaged stores", damage.to_string()),
    }
    Ok(())
}
