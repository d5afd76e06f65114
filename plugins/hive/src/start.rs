//! Starting and stopping a hive's server.

use std::time::Duration;

use skep::prelude::*;
use skep_relay::Address;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::info;

use crate::hive::{Entry, Hive, State};
use crate::hives::{Hives, show};
use crate::link::Lasting;
use crate::machine::{Found, Machine};

/// How often a machine is asked whether something has happened there.
const ASK_INTERVAL: Duration = Duration::from_millis(200);

/// What a server says when it takes requests, before its address.
const LISTENING: &str = "listening on http://";

/// How long a server may take to end: longer than it gives its jobs, by default.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// Starts the server of hive `id`, and waits until it's online.
pub(crate) async fn start(
    hives: &Hives,
    id: &str,
    patience: Duration,
    job: &JobContext,
) -> Result<Hive> {
    let starting = hives.link(id)?.lasting.clone();
    let _alone = alone(&starting, job).await?;
    let late = Instant::now() + patience;
    let link = hives.link(id)?;
    let entry = entry(hives, id).await?;
    link.settled().await;
    if link.known().state == State::Online {
        job.log(LogLevel::Info, "it's online already").await?;
        return Ok(show(&entry, &link.known()));
    }
    let where_to = entry.ssh.as_ref().map_or("this machine".to_owned(), |ssh| format!("`{ssh}`"));
    job.log(LogLevel::Info, format!("getting to {where_to}")).await?;
    let machine = link.way.machine(&entry).await?;
    provide(&machine, job).await?;
    let pid = if let Some(pid) = running(&machine, &entry).await? {
        job.log(LogLevel::Info, format!("its server runs already, as process {pid}")).await?;
        pid
    } else {
        let listen = Address::Tcp(entry.host.clone(), entry.port.unwrap_or(0)).to_string();
        job.log(LogLevel::Info, format!("starting the server, on {listen}")).await?;
        let pid = machine.start(id, &listen).await?;
        // So that it's found again, whatever becomes of this job.
        hives.catalog.change(id, |entry| entry.pid = Some(pid)).await?;
        pid
    };
    let port = listening(&machine, id, pid, late).await?;
    job.log(LogLevel::Info, format!("it listens on port {port}, as process {pid}")).await?;
    info!(hive = %id, pid, port, "a hive's server was started");
    hives.catalog.change(id, |entry| entry.port = Some(port)).await?;
    hives.refresh().await?;
    let link = hives.link(id)?;
    if timeout_at(late, link.online()).await.is_err() {
        let why = link.known().failure.unwrap_or_else(|| "nothing is heard of it".to_owned());
        let detail = format!(
            "hive `{id}` runs (process {pid}) and isn't online after {patience:?}: {why}; `hive_check` \
             says where the way to it ends, `hive_stop` ends it"
        );
        return Err(OperationError::new("hive-silent", detail).with_status(504));
    }
    job.log(LogLevel::Info, "it's online").await?;
    Ok(show(&link.entry, &link.known()))
}

/// Stops the server of hive `id`, and waits until it's gone.
pub(crate) async fn stop(hives: &Hives, id: &str, job: &JobContext) -> Result<Hive> {
    let starting = hives.link(id)?.lasting.clone();
    let _alone = alone(&starting, job).await?;
    let link = hives.link(id)?;
    let entry = entry(hives, id).await?;
    let Some(pid) = entry.pid else {
        let detail = format!(
            "hive `{id}` was not started by `hive_start`: stop its server where it was started"
        );
        return Err(OperationError::new("not-started-here", detail).with_status(409));
    };
    let machine = link.way.machine(&entry).await?;
    let kill_at = Instant::now() + STOP_PATIENCE;
    let mut signal = Some("TERM");
    while machine.look(id, pid).await?.runs {
        if let Some(signal) = signal.take() {
            job.log(LogLevel::Info, format!("telling process {pid} to stop")).await?;
            machine.signal(id, pid, signal).await?;
        } else if Instant::now() >= kill_at {
            job.log(LogLevel::Warn, format!("it hasn't within {STOP_PATIENCE:?}: killing it"))
                .await?;
            machine.signal(id, pid, "KILL").await?;
        }
        tokio::select! {
            () = sleep(ASK_INTERVAL) => {}
            () = job.cancelled() => return Err(OperationError::message("the job was cancelled")),
        }
    }
    hives.catalog.change(id, |entry| entry.pid = None).await?;
    link.stopped();
    job.log(LogLevel::Info, "it's gone").await?;
    info!(hive = %id, pid, "a hive's server was stopped");
    Ok(hives.status(id).await?.hive)
}

/// Waits until no other job starts or stops the hive's server.
async fn alone<'a>(lasting: &'a Lasting, job: &JobContext) -> Result<MutexGuard<'a, ()>> {
    tokio::select! {
        alone = lasting.starting.lock() => Ok(alone),
        () = job.cancelled() => Err(OperationError::message("the job was cancelled")),
    }
}

/// The process of a hive's server that an earlier job has started, if it runs.
async fn running(machine: &Machine, entry: &Entry) -> Result<Option<u32>> {
    let Some(pid) = entry.pid else { return Ok(None) };
    Ok(machine.look(&entry.id, pid).await?.runs.then_some(pid))
}

/// Sees to it that the machine has this server's program.
async fn provide(machine: &Machine, job: &JobContext) -> Result<()> {
    let Machine::There(_) = machine else { return Ok(()) };
    let Found { target, version } = machine.find().await?;
    let own = (std::env::consts::OS, std::env::consts::ARCH);
    if (target.0.as_str(), target.1.as_str()) != own {
        let detail = format!(
            "the machine is {}/{}, and this program was built for {}/{}: start a server of its own \
             there, and tell its port (`hive_update`)",
            target.0, target.1, own.0, own.1
        );
        return Err(OperationError::new("other-platform", detail).with_status(409));
    }
    let wanted = format!("skep {}", env!("CARGO_PKG_VERSION"));
    match version {
        Some(version) if version == wanted => {
            job.log(LogLevel::Info, format!("{version} is there")).await?;
            return Ok(());
        }
        Some(version) => {
            job.log(LogLevel::Info, format!("copying the program: there is {version}")).await?;
        }
        None => job.log(LogLevel::Info, "copying the program").await?,
    }
    machine.install(&std::env::current_exe()?, job).await?;
    match machine.find().await?.version {
        Some(version) if version == wanted => Ok(()),
        version => {
            let says = version.unwrap_or_else(|| "nothing".to_owned());
            let detail = format!("the program was copied and doesn't run there: it says {says}");
            Err(OperationError::new("program-broken", detail).with_status(502))
        }
    }
}

/// Waits until the server says on which port it listens.
async fn listening(machine: &Machine, id: &str, pid: u32, late: Instant) -> Result<u16> {
    loop {
        let seen = machine.look(id, pid).await?;
        if let Some(port) = seen.log.lines().find_map(port_of) {
            return Ok(port);
        }
        if !seen.runs {
            let detail = format!("hive `{id}` ended as soon as it was started:\n{}", seen.log);
            return Err(OperationError::new("hive-not-started", detail).with_status(502));
        }
        if Instant::now() >= late {
            let detail = format!("hive `{id}` hasn't started in time; it runs as process {pid}");
            return Err(OperationError::new("hive-silent", detail).with_status(504));
        }
        sleep(ASK_INTERVAL).await;
    }
}

/// The port in the line of a log that tells it.
fn port_of(line: &str) -> Option<u16> {
    let address = line.split_once(LISTENING)?.1;
    let address = address.split(|c: char| c.is_whitespace() || c == '"').next()?;
    address.rsplit_once(':')?.1.parse().ok()
}

/// The hive as the catalog has it now.
async fn entry(hives: &Hives, id: &str) -> Result<Entry> {
    match hives.catalog.find(id).await? {
        Some(entry) => Ok(entry),
        // Deleted a moment ago.
        None => hives.link(id).map(|link| link.entry.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_has_the_port() {
        let line = "2026-11-30T19:10:42.6Z  INFO listening on http://127.0.0.1:39395";
        assert_eq!(port_of(line), Some(39_395));
        assert_eq!(port_of("{\"message\":\"listening on http://[::1]:80\"}"), Some(80));
        assert_eq!(port_of("listening on http://nowhere"), None);
        assert_eq!(port_of("INFO jobs are kept by the store `sqlite`"), None);
    }
}
