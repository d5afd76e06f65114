//! What durability costs, in figures: of a server that nothing troubles.
//!
//! ```text
//! ./x figures [EVENTS] [JOBS]
//! ```

#![allow(clippy::cast_precision_loss, reason = "what is counted is far below 2^52")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::iter;
use memchr::memmem;
use reqwest::Client;
use serde_json::{Value, json};

use crate::Result;
use crate::server::{Home, Server};

/// How often each store has its turn.
const ROUNDS: usize = 5;

/// How many jobs are asked for at once.
const AT_ONCE: usize = 64;

/// How many jobs more than may wait are asked for.
const TOO_MANY: usize = 500;

/// How often each page is asked for.
const LOOKS: usize = 50;

/// Measure what durability costs.
#[derive(Parser)]
#[command(name = "soak figures")]
struct Options {
    /// How many events a job emits
    #[arg(default_value_t = 10_000_000)]
    events: u64,
    /// How many jobs wait
    #[arg(default_value_t = 100_000)]
    jobs: usize,
}

/// `soak figures`.
pub(crate) fn main() -> ExitCode {
    let options = Options::parse_from(std::env::args().skip(1));
    let measured = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(&options)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<()> {
    let directory = PathBuf::from("target").join(format!("figures-{}", std::process::id()));
    let directory = std::path::absolute(directory)?;
    let http = Client::builder().no_proxy().build()?;
    events(&http, &directory, options.events).await?;
    queue(&http, &directory, options.jobs).await?;
    Ok(std::fs::remove_dir_all(directory)?)
}

/// Starts a server in `directory`.
fn start(directory: &Path, configuration: &str) -> Result<Server> {
    let data = directory.join("data");
    std::fs::create_dir_all(&data)?;
    let home = Home { directory: directory.to_owned(), data, faketime: None };
    let started = home.start(configuration, &Arc::default())?;
    started.map_err(|exit| format!("the server does not start: {}", exit.status).into())
}

/// One job's events through each store, in turn, to one reader.
async fn events(http: &Client, directory: &Path, count: u64) -> Result<()> {
    println!("`echo` of {count} events to one reader, events/s:");
    let stores = ["memory", "sqlite"];
    let mut rates = stores.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (store, rates) in stores.iter().zip(&mut rates) {
            let directory = directory.join(store);
            let configuration = format!(
                "[server]\nstore = \"{store}\"\n[jobs]\nmax_log = \"8GiB\"\nmemory = \"8GiB\"\n"
            );
            let server = start(&directory, &configuration)?;
            rates.push(rate(http, &server, count).await?);
            server.kill()?;
            std::fs::remove_dir_all(directory)?;
        }
    }
    let [memory, durable] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates
    });
    for (store, rates) in stores.iter().zip([&memory, &durable]) {
        let all: Vec<_> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("  {store:<8}{:>12.0}   of {}", rates[ROUNDS / 2], all.join(" "));
    }
    println!("  ratio   {:>12.2}", durable[ROUNDS / 2] / memory[ROUNDS / 2]);
    Ok(())
}

/// Events of one job per second, from the request to the end, which the store then has.
async fn rate(http: &Client, server: &Server, count: u64) -> Result<f64> {
    let echo = |count| {
        let request = http.post(format!("{}/v1/operations/echo", server.url));
        let input = json!({ "value": "twelve bytes", "count": count });
        request.header("accept", "text/event-stream").json(&input).send()
    };
    // The first job of an operation has a thread of its own.
    echo(1).await?.bytes().await?;
    let begun = Instant::now();
    let mut chunks = echo(count).await?.error_for_status()?.bytes_stream();
    let border = memmem::Finder::new(b"\n\n");
    let (mut frames, mut last) = (0, Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        // A border may be cut between two chunks.
        frames += u64::from(last.ends_with(b"\n") && chunk.starts_with(b"\n"));
        frames += border.find_iter(&chunk).count() as u64;
        last.extend_from_slice(&chunk);
        last.drain(..last.len().saturating_sub(200));
    }
    let took = begun.elapsed();
    let last = String::from_utf8_lossy(&last);
    if frames != count + 2 || !last.contains("\"state\":\"succeeded\"") {
        return Err(format!("{frames} events came, the last of them: {last}").into());
    }
    Ok(count as f64 / took.as_secs_f64())
}

/// Many jobs that wait: what they take, how they're listed, and how a server starts with them.
async fn queue(http: &Client, directory: &Path, count: usize) -> Result<()> {
    println!("\n{count} jobs that wait for a place:");
    let directory = directory.join("queue");
    let configuration =
        format!("[server]\nstore = \"sqlite\"\n[jobs]\nmax_running = 1\nmax_queued = {count}\n");
    let server = start(&directory, &configuration)?;
    let jobs = format!("{}/v1/jobs", server.url);
    // It has the only place, for longer than this takes.
    let first = json!({ "operation": "soak_wait", "ms": 3_600_000 });
    http.post(&jobs).json(&first).send().await?.error_for_status()?;
    let before = memory(&server)?;
    let begun = Instant::now();
    let asked = iter(0..count + TOO_MANY).map(|number| {
        let echo = json!({ "operation": "echo", "value": number });
        let request = http.post(&jobs).json(&echo).send();
        async { request.await.map(|answer| answer.status().as_u16()) }
    });
    let (mut accepted, mut refused) = (0, 0);
    let mut asked = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
    while let Some(status) = asked.next().await {
        match status? {
            201 => accepted += 1,
            429 => refused += 1,
            status => return Err(format!("a job was answered with {status}").into()),
        }
    }
    let rate = (accepted + refused) as f64 / begun.elapsed().as_secs_f64();
    println!("  accepted {accepted}, refused {refused}, {rate:.0} answers/s");
    let after = memory(&server)?;
    println!(
        "  memory {} MiB before, {} MiB after: {:.2} KiB a job",
        before >> 10,
        after >> 10,
        (after - before) as f64 / count as f64
    );
    pages(http, &jobs).await?;

    server.kill()?;
    let begun = Instant::now();
    let server = start(&directory, &configuration)?;
    let up = begun.elapsed();
    let jobs = format!("{}/v1/jobs", server.url);
    let (waiting, _) = walk(http, &jobs, "state=queued").await?;
    println!("  after kill -9: up in {} ms, {waiting} jobs wait", up.as_millis());
    if waiting != accepted {
        return Err(format!("of {accepted} accepted jobs {waiting} are there").into());
    }
    server.kill()
}

/// Pages of a long list, from its middle too.
async fn pages(http: &Client, jobs: &str) -> Result<()> {
    let (count, mut middle) = walk(http, jobs, "").await?;
    let middle = middle.swap_remove(middle.len() / 2);
    for (name, query) in [
        ("the newest 50", String::new()),
        ("the newest 500", "limit=500".to_owned()),
        ("50 from the middle", format!("cursor={middle}")),
        ("50 queued from the middle", format!("state=queued&cursor={middle}")),
        ("50 of an operation", "operation=echo".to_owned()),
        ("the one that runs", "state=running".to_owned()),
    ] {
        let mut times = Vec::new();
        for _ in 0..LOOKS {
            let begun = Instant::now();
            http.get(format!("{jobs}?{query}")).send().await?.error_for_status()?.bytes().await?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (median, longest) = (ms(times[LOOKS / 2]), ms(times[LOOKS - 1]));
        println!("  {name}, of {count}: {median:.2} ms, at most {longest:.2} ms");
    }
    Ok(())
}

/// How many jobs a list has from its first page to its last, and the cursors of its pages.
async fn walk(http: &Client, jobs: &str, filter: &str) -> Result<(usize, Vec<String>)> {
    let (mut count, mut cursors) = (0, Vec::new());
    let mut url = format!("{jobs}?limit=500&{filter}");
    loop {
        let page: Value = http.get(&url).send().await?.error_for_status()?.json().await?;
        count += page["jobs"].as_array().map_or(0, Vec::len);
        let Some(next) = page["next_cursor"].as_str() else { return Ok((count, cursors)) };
        url = format!("{jobs}?limit=500&{filter}&cursor={next}");
        cursors.push(next.to_owned());
    }
}

/// A server's resident memory, KiB.
fn memory(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.ok_or("a process without memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
