//! What one server goes through, from its start to its end.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::Result;
use crate::client::Wish;
use crate::ledger::count;
use crate::load::Load;
use crate::order::{Kind, MAX_ATTEMPTS, Order};
use crate::place::Place;
use crate::server::{Exit, Home, Server, database};

/// How often it's looked whether the server has died by itself.
const LOOK: Duration = Duration::from_millis(50);

/// How long a poisonous job may take to do its work.
const POISON_PATIENCE: Duration = Duration::from_secs(10);

/// How long the driver waits for the database's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long the database is locked: longer than the store waits for it (`PATIENCE` of
/// plugins/sqlite/src/open.rs, 5 s), or not, milliseconds.
const LONG_LOCK: std::ops::Range<u64> = 6_000..8_000;
const SHORT_LOCK: std::ops::Range<u64> = 200..4_000;

/// How large files may become when writes fail, bytes: writes partway through a log file and the
/// database's log are cut.
const FILE_SIZE: std::ops::Range<u64> = 0..4 << 20;

/// How long a job may take that tells the server's time, and how far that may be off, seconds.
const CLOCK_PATIENCE: Duration = Duration::from_secs(5);
const CLOCK_ERROR: u64 = 30;

/// How far clocks are set from the true time, seconds: less than keys and jobs are kept.
const CLOCK: i64 = 2 * 3600;

/// How the store of an incarnation fails.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faulty {
    calls: u64,
    seed: u64,
}

/// A server's fate, drawn before it starts.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    life: Duration,
    trouble: Trouble,
    pub(crate) faulty: Faulty,
    end: Fate,
}

/// What befalls it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// Calls of its store fail.
    Store,
    /// Another program holds the database's lock for so long.
    Busy(Duration),
    /// Its disk is full.
    Full,
    /// Its writes behind so many bytes of a file fail.
    Broken(u64),
    /// Its clock is set, this many seconds from the true time.
    Clock(i64),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Stopped,
    /// By a job that takes it down.
    Poisoned,
}

impl Plan {
    /// The fate of incarnation `number`. The first ones are of each kind, so that the shortest run
    /// has them all.
    pub(crate) fn draw(rng: &mut Rng, number: usize, home: &Home, place: &Place) -> Self {
        // A server that dies at once, having just gone on with what the one before it had left, is
        // a case of its own.
        let life = if rng.u8(0..5) == 0 { rng.u64(50..700) } else { rng.u64(3_000..11_000) };
        let mut life = Duration::from_millis(life);
        let clock = Trouble::Clock(rng.i64(-CLOCK..CLOCK));
        let lock = if number == 2 || rng.bool() { LONG_LOCK } else { SHORT_LOCK };
        let busy = Trouble::Busy(Duration::from_millis(rng.u64(lock)));
        let broken = Trouble::Broken(if rng.u8(0..3) == 0 { 0 } else { rng.u64(FILE_SIZE) });
        let troubles = [Trouble::Store, busy, Trouble::Full, broken, clock];
        let mut trouble = match number {
            0 => Trouble::Nothing,
            1..=5 => troubles[number - 1],
            _ if rng.u8(0..3) == 0 => Trouble::Nothing,
            _ => troubles[rng.usize(0..troubles.len())],
        };
        match trouble {
            Trouble::Full if !place.is_mounted => trouble = broken,
            Trouble::Clock(_) if home.faketime.is_none() => trouble = Trouble::Nothing,
            _ => {}
        }
        if number <= 5 {
            life = life.clamp(Duration::from_secs(4), Duration::from_secs(7));
        }
        if let Trouble::Busy(lock) = trouble {
            life = life.max(lock.mul_f64(1.5));
        }
        let end = match (number, rng.u8(0..100)) {
            (6, _) | (_, 0..3) if number > 5 => Fate::Poisoned,
            (2, _) | (_, 3..15) => Fate::Stopped,
            _ => Fate::Killed,
        };
        let calls = if trouble == Trouble::Store { rng.u64(200..1500) } else { 0 };
        Self { life, trouble, faulty: Faulty { calls, seed: rng.u32(..).into() }, end }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = match self.trouble {
            Trouble::Nothing => "no trouble".to_owned(),
            Trouble::Store => "its store fails".to_owned(),
            Trouble::Busy(lock) => format!("its database is locked {:.1} s", lock.as_secs_f64()),
            Trouble::Full => "its disk is full".to_owned(),
            Trouble::Broken(size) => format!("its writes behind {} KiB fail", size / 1024),
            Trouble::Clock(by) => format!("its clock is set to {:+} min", by / 60),
        };
        write!(f, "{trouble}, {:?} after {:.1} s", self.end, self.life.as_secs_f64())
    }
}

/// What a server's life needs.
pub(crate) struct World<'a> {
    pub(crate) home: &'a Home,
    pub(crate) place: &'a Place,
    pub(crate) load: &'a Load,
}

impl World<'_> {
    /// Lets `server` live and end as `plan` says.
    pub(crate) async fn live(&self, mut server: Server, plan: Plan, rng: &mut Rng) -> Result<()> {
        let counters = &self.load.ledger.counters;
        let before = plan.life.mul_f64(rng.f64() / 2.0);
        let rest = plan.life.saturating_sub(before);
        // What could not be stored when the server is killed must not have been told.
        let lasts = plan.end == Fate::Killed && rng.bool();
        let during = match plan.trouble {
            Trouble::Busy(lock) => lock,
            _ if lasts => rest,
            // Not so short that nobody notices.
            _ => rest.mul_f64(0.4 + rng.f64() * 0.6),
        };
        sleep_until_dead(&mut server, before).await?;
        let undo = self.make_trouble(&mut server, plan.trouble)?;
        sleep_until_dead(&mut server, during).await?;
        if let (Trouble::Clock(offset), None) = (plan.trouble, server.ended()?) {
            self.look_at_clock(offset, rng).await;
        }
        if !lasts || matches!(undo, Undo::Unlock(_)) {
            self.end_trouble(&server, undo)?;
        }
        sleep_until_dead(&mut server, rest.saturating_sub(during)).await?;
        if let Some(exit) = server.ended()? {
            self.make_room()?;
            return self.explain(exit);
        }
        match plan.end {
            Fate::Killed => {
                count(&counters.kills);
                server.kill()?;
                self.make_room()
            }
            Fate::Stopped => {
                count(&counters.stops);
                let exit = server.stop().await?;
                if !exit.status.success() && !exit.is_poisoned {
                    let what = format!("asked to stop, it ended with {}", exit.status);
                    self.load.ledger.violate_as_a_whole("wrong exits", what);
                }
                Ok(())
            }
            Fate::Poisoned => self.poison(server, rng).await,
        }
    }

    /// Starts a server. One that a job takes down before it listens is followed by another.
    pub(crate) fn start(&self, faulty: Faulty) -> Result<Server> {
        loop {
            match self.home.start(&configuration(faulty), &self.load.ledger)? {
                Ok(server) => break Ok(server),
                Err(exit) => self.explain(exit)?,
            }
        }
    }

    /// Waits for `work`, and has a server all the time: a job that takes it down is given up in the end.
    pub(crate) async fn attend<T>(
        &self,
        server: &mut Server,
        url: &watch::Sender<String>,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep(LOOK) => {}
            }
            if let Some(exit) = server.ended()? {
                self.explain(exit)?;
                *server = self.start(Faulty::default())?;
                url.send_replace(server.url.clone());
            }
        }
    }

    /// A server has ended by itself: a job of its own must have taken it down.
    fn explain(&self, exit: Exit) -> Result<()> {
        if exit.is_poisoned {
            return Ok(());
        }
        let (status, log) = (exit.status, self.home.directory.join("server.log"));
        Err(format!("the server ended by itself ({status}): see the end of {}", log.display())
            .into())
    }

    /// Has a job take the server down.
    async fn poison(&self, mut server: Server, rng: &mut Rng) -> Result<()> {
        let order = Order::of(Kind::Poison, rng);
        let wish = Wish { key: Some(format!("poison-{:x}", rng.u64(..))), ..Wish::default() };
        let load = self.load.clone();
        // By a key, since the answer rarely comes, and it's asked again as long as the server lives.
        let asked = tokio::spawn(async move { load.keyed(&order, &wish, 1).await });
        sleep_until_dead(&mut server, POISON_PATIENCE).await?;
        cut_off(asked).await?;
        if let Some(exit) = server.ended()? {
            return self.explain(exit);
        }
        // Its place in the queue didn't come.
        count(&self.load.ledger.counters.kills);
        server.kill()
    }

    fn make_trouble(&self, server: &mut Server, trouble: Trouble) -> Result<Undo> {
        let counters = &self.load.ledger.counters;
        let undo = match trouble {
            Trouble::Nothing => Undo::Nothing,
            Trouble::Store => {
                count(&counters.store.made);
                Undo::Nothing
            }
            Trouble::Busy(_) => {
                let database = Connection::open(database(&self.home.data))?;
                database.busy_timeout(LOCK_PATIENCE)?;
                // The server may just hold the lock for longer; then it's not disturbed.
                if database.execute_batch("BEGIN IMMEDIATE").is_err() {
                    return Ok(Undo::Nothing);
                }
                count(&counters.busy.made);
                Undo::Unlock(database)
            }
            Trouble::Full if self.place.fill_up() => {
                count(&counters.full.made);
                Undo::Empty
            }
            Trouble::Broken(size) if server.limit_files(Some(size)) => {
                count(&counters.broken.made);
                Undo::LetWrite
            }
            Trouble::Clock(offset) => {
                self.home.set_clock(offset)?;
                count(&counters.clock.made);
                Undo::Nothing
            }
            // A job was quicker.
            Trouble::Full | Trouble::Broken(_) if server.ended()?.is_some() => Undo::Nothing,
            Trouble::Full | Trouble::Broken(_) => {
                return Err(format!("can't bring about that {trouble:?}").into());
            }
        };
        Ok(undo)
    }

    /// Looks whether a job's time shows that the clock was set.
    async fn look_at_clock(&self, offset: i64, rng: &mut Rng) {
        let shows = async {
            // The server may refuse a job now, and libfaketime looks once a second.
            while self.load.clock(rng).await.is_none_or(|at| at.abs_diff(offset) >= CLOCK_ERROR) {
                sleep(LOOK).await;
            }
        };
        if timeout(CLOCK_PATIENCE, shows).await.is_ok() {
            count(&self.load.ledger.counters.clock.felt);
        }
    }

    /// Sees to it that the next server's disk isn't full.
    fn make_room(&self) -> Result<()> {
        if self.place.is_mounted && !self.place.empty() {
            return Err("the disk stays full".into());
        }
        Ok(())
    }

    fn end_trouble(&self, server: &Server, undo: Undo) -> Result<()> {
        let is_undone = match undo {
            Undo::Nothing => true,
            // Closed while the server runs: the last one to close a database tidies it up, and
            // what a killed server leaves is to be found as it is.
            Undo::Unlock(database) => database.execute_batch("ROLLBACK").is_ok(),
            Undo::Empty => self.place.empty(),
            Undo::LetWrite => {
                // One that has died has no limits.
                server.limit_files(None);
                true
            }
        };
        if is_undone { Ok(()) } else { Err("a trouble does not end".into()) }
    }
}

/// How trouble is ended.
enum Undo {
    Nothing,
    Unlock(Connection),
    Empty,
    LetWrite,
}

/// Ends a task that isn't needed any more. Fails if it has panicked.
pub(crate) async fn cut_off<T>(task: JoinHandle<T>) -> Result<()> {
    task.abort();
    match task.await {
        Err(error) if error.is_panic() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Sleeps, but no longer than the server lives.
async fn sleep_until_dead(server: &mut Server, span: Duration) -> Result<()> {
    let until = Instant::now() + span;
    while Instant::now() < until && server.ended()?.is_none() {
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
    }
    Ok(())
}

/// So that nothing is forgotten that is to be looked up in the end.
fn configuration(faulty: Faulty) -> String {
    let Faulty { calls, seed } = faulty;
    format!(
        "[server]\nstore = \"faulty\"\ndrain = \"1s\"\n\
         [jobs]\nretention = \"2400h\"\nmax_kept = 100000000\nmax_stored = \"1TiB\"\n\
         max_running = 300\nmax_queued = 3000\nmax_attempts = {MAX_ATTEMPTS}\n\
         cancel_grace = \"500ms\"\nunclaimed_ttl = \"20s\"\n\
         [plugins.faulty]\ncalls = {calls}\nseed = {seed}\n"
    )
}
