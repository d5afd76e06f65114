//! A job that another server does.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use skep::job::{End, EventKind, JobRequest, LogLine, Priority, Progress, Start};
use skep::prelude::*;
use skep::problem::Code;
use skep::{JobId, Problem};
use tokio::time::{Instant, timeout};

use crate::failure::Failure;
use crate::frames::{Frame, Frames};
use crate::outage::Outage;
use crate::server::{JobOrder, Server};

/// How many servers may hand a job on.
pub const MAX_HOPS: u32 = 8;

/// After how long without a byte a stream is given up: a server that has nothing to tell says so every 15 s.
const SILENCE: Duration = Duration::from_mins(1);

/// Refuses a job that too many servers have handed on: they lead to each other.
///
/// # Errors
/// `relay-loop` (508).
pub fn check_hops(request: &JobRequest) -> Result<()> {
    if request.hops <= MAX_HOPS {
        return Ok(());
    }
    let detail = format!(
        "{} servers have handed this job on, more than {MAX_HOPS}: they lead to each other in a circle",
        request.hops
    );
    Err(OperationError::new("relay-loop", detail).with_status(508))
}

/// What has to be kept of a job on its way to another server, to take it up again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The key by which the server knows the job.
    pub key: String,
    /// How many events of the job's own log aren't this server's: outputs and progress.
    pub before: u64,
}

impl Handover {
    /// A handover of `job` that begins now.
    ///
    /// # Errors
    /// If the job's own log can't be read.
    pub async fn new(job: &JobContext) -> Result<Self> {
        Ok(Self { key: format!("relay-{}-{}", job.id(), job.attempt()), before: told(job).await? })
    }

    /// The job at the other server, when nobody is going to relay it any more.
    pub fn abandoned(&self, job: &JobContext, operation: &str, input: Value) -> Abandoned {
        Abandoned {
            operation: operation.to_owned(),
            input,
            key: self.key.clone(),
            hops: job.hops() + 1,
            id: None,
        }
    }
}

/// A job that another server does.
pub struct Relay<'a> {
    /// The job here.
    pub job: &'a JobContext,
    /// Who does it.
    pub server: &'a Server,
    /// What is done there.
    pub operation: &'a str,
    /// With this input.
    pub input: &'a Value,
    /// By this key.
    pub handover: &'a Handover,
    /// Whether it may have been ordered by this key before.
    pub is_taken_up: bool,
    /// Takes over the job there if it may go on when nobody relays it any more: it's to be cancelled.
    /// Called when [`run`](Self::run) returns or is dropped.
    pub abandon: &'a (dyn Fn(Abandoned) + Send + Sync),
}

/// A server that was to do a job doesn't answer any more.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lost {
    /// What was the last that was heard.
    pub failure: Failure,
    /// How many of its events have been relayed.
    pub told: u64,
}

/// A job at another server that nobody waits for any more.
#[derive(Clone, Debug)]
pub struct Abandoned {
    operation: String,
    input: Value,
    key: String,
    hops: u32,
    /// Its id, if that was told.
    id: Option<JobId>,
}

impl Abandoned {
    /// Cancels it. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Failure`] says: it may go on.
    pub async fn cancel(&self, server: &Server) -> Result<(), Failure> {
        let id = if let Some(id) = self.id {
            id
        } else {
            // Whether it was ever taken isn't known. By its key it's the same job if it was; if not, it's
            // there, and not begun, for the moment that it takes to cancel it.
            let Self { operation, input, key, hops, .. } = self;
            let order = JobOrder {
                operation,
                input,
                key,
                priority: Priority::Normal,
                start: Start::OnStream,
                timeout: None,
                hops: *hops,
            };
            server.order(&order).await?
        };
        server.cancel(id).await
    }
}

impl Relay<'_> {
    /// Has the server do the job, and relays what it tells until it has ended there. Returns how it
    /// ended: its result, or its error.
    ///
    /// When the job here is cancelled, runs out of time or is dropped, the one there is
    /// [abandoned](Self::abandon); unless another process goes on with this one
    /// ([`JobContext::is_handed_over`]).
    ///
    /// # Errors
    /// [`Lost`] if the server can't be reached for too long, or `gone` says that it's of no use to
    /// wait.
    pub async fn run(&self, gone: impl Future<Output = ()>) -> Result<Result<Value>, Lost> {
        let mut gone = std::pin::pin!(gone);
        let skip = match self.already_told().await {
            Ok(skip) => skip,
            Err(error) => return Ok(Err(error)),
        };
        // Those that were relayed before, and not read again, were relayed.
        let lost = |failure, told: u64| Lost { failure, told: skip.max(told) };
        let mut there = There { relay: self, id: None, may_go_on: self.is_taken_up };
        let id = tokio::select! {
            ordered = self.order(&mut there) => match ordered {
                Ok(id) => id,
                Err(Failure::Refused(problem)) if !problem.is_transient() => {
                    return Ok(Err(problem.into()));
                }
                Err(failure) => return Err(lost(failure, skip)),
            },
            () = self.job.cancelled() => return Ok(Err(self.stopped(&mut there))),
            () = &mut gone => return Err(lost(Failure::given_up(), skip)),
        };
        let mut outage = Outage::default();
        let mut progress = Position { last: 0, skip, told: 0, opened: None };
        loop {
            progress.opened = None;
            let failure = tokio::select! {
                read = self.read(id, &mut progress) => match read {
                    Ok(ended) => {
                        there.may_go_on = false;
                        return Ok(ended);
                    }
                    // What is emitted is refused when the job is to stop.
                    Err(Broken::Here(_)) if self.job.is_cancelled() => {
                        return Ok(Err(self.stopped(&mut there)));
                    }
                    Err(Broken::Here(error)) => return Ok(Err(error)),
                    Err(Broken::There(Failure::Refused(problem))) if !problem.is_transient() => {
                        Failure::Forgotten(problem)
                    }
                    Err(Broken::There(failure)) => failure,
                },
                () = self.job.cancelled() => return Ok(Err(self.stopped(&mut there))),
                () = &mut gone => return Err(lost(Failure::given_up(), progress.told)),
            };
            outage.follow(progress.opened);
            let goes_on = failure.is_passing()
                && tokio::select! {
                    goes_on = outage.bear() => goes_on,
                    () = self.job.cancelled() => true,
                    () = &mut gone => false,
                };
            if !goes_on {
                return Err(lost(failure, progress.told));
            }
        }
    }

    /// The job here is to stop: what becomes of the one there, and what this one ends with.
    fn stopped(&self, there: &mut There<'_>) -> OperationError {
        if self.job.is_handed_over() {
            there.may_go_on = false;
        }
        Problem::new(Code::Cancelled, "the job was cancelled").into()
    }

    /// Orders the job, as often as it takes.
    async fn order(&self, there: &mut There<'_>) -> Result<JobId, Failure> {
        let mut outage = Outage::default();
        loop {
            // An order that's on its way when this is dropped may be taken.
            let may_go_on = std::mem::replace(&mut there.may_go_on, true);
            match self.order_once().await {
                Ok(id) => {
                    there.id = Some(id);
                    return Ok(id);
                }
                Err(failure) => {
                    // Whether it was taken isn't known if the connection broke off.
                    there.may_go_on = may_go_on || matches!(failure, Failure::Broken(_));
                    // A server that has too much to do may have less in a while; others have less now.
                    let is_outage = matches!(failure, Failure::Unreachable(_) | Failure::Broken(_));
                    if !is_outage || !outage.bear().await {
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn order_once(&self) -> Result<JobId, Failure> {
        let left = |deadline: std::time::Instant| {
            deadline.saturating_duration_since(std::time::Instant::now())
        };
        let order = JobOrder {
            operation: self.operation,
            input: self.input,
            key: &self.handover.key,
            priority: self.job.priority(),
            start: Start::Now,
            timeout: self.job.deadline().map(left),
            hops: self.job.hops() + 1,
        };
        self.server.order(&order).await
    }

    fn abandoned(&self, id: Option<JobId>) -> Abandoned {
        let Self { job, operation, input, handover, .. } = self;
        Abandoned { id, ..handover.abandoned(job, operation, (*input).clone()) }
    }

    /// How many of the server's events an earlier process has relayed.
    async fn already_told(&self) -> Result<u64> {
        Ok(told(self.job).await?.saturating_sub(self.handover.before))
    }

    /// Relays the events behind those that were, over one connection.
    async fn read(&self, id: JobId, position: &mut Position) -> Result<Result<Value>, Broken> {
        let Some(mut frames) = self.server.events_of(id, position.last).await? else {
            let detail = "it has no more events of the job, and told no end";
            return Err(Failure::Foreign(detail.to_owned()).into());
        };
        position.opened = Some(Instant::now());
        loop {
            if let Some(ended) = self.relay_ready(&mut frames, position).await? {
                return Ok(ended);
            }
            let silent = |_| Failure::Broken(format!("nothing has come for {SILENCE:?}"));
            if !timeout(SILENCE, frames.more()).await.map_err(silent)?? {
                // A server that goes down ends its streams without the jobs' ends.
                return Err(Failure::Broken("the stream ended before the job".to_owned()).into());
            }
        }
    }

    /// Relays what has come. Returns how the job ended, if it has.
    async fn relay_ready(
        &self,
        frames: &mut Frames,
        position: &mut Position,
    ) -> Result<Option<Result<Value>>, Broken> {
        while let Some(frame) = frames.ready() {
            if frame.id <= position.last {
                continue;
            }
            position.last = frame.id;
            match frame.event {
                b"" | b"message" if position.takes() => {
                    self.job.emit(parse::<&RawValue>(&frame)?).await
                }
                b"progress" if position.takes() => {
                    let progress: Progress = parse(&frame)?;
                    self.job.progress(progress.done, progress.total, &progress.unit).await
                }
                b"log" if position.skip == 0 => {
                    let line: LogLine = parse(&frame)?;
                    self.job.log(line.level, line.message).await
                }
                b"state" if position.skip == 0 => self.tell_attempt(&parse(&frame)?).await,
                b"end" => return Ok(Some(ended(parse(&frame)?))),
                _ => Ok(()),
            }
            .map_err(Broken::Here)?;
        }
        Ok(None)
    }

    /// The states there are known by the job's own, but for what is done anew: some of it is told twice.
    async fn tell_attempt(&self, there: &StateThere<'_>) -> Result<()> {
        let StateThere { state, attempt } = there;
        if *state != "running" || *attempt == 1 {
            return Ok(());
        }
        self.job.log(LogLevel::Warn, format!("it's done anew there, as attempt {attempt}")).await
    }
}

/// A change of the job's state there.
#[derive(Deserialize)]
struct StateThere<'a> {
    state: &'a str,
    attempt: u32,
}

/// Where a reader of the server's events is.
struct Position {
    /// The last event that was read.
    last: u64,
    /// How many outputs and progress events are still to be left out: they were relayed before.
    skip: u64,
    /// How many have been relayed.
    told: u64,
    /// Since when the stream stands that is read, if it does.
    opened: Option<Instant>,
}

impl Position {
    /// Whether the next output or progress event is to be relayed.
    fn takes(&mut self) -> bool {
        self.told += 1;
        let takes = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        takes
    }
}

/// Why relaying has stopped.
enum Broken {
    /// The job here can't go on.
    Here(OperationError),
    /// The server, or the way to it.
    There(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::There(failure)
    }
}

fn parse<'a, T: Deserialize<'a>>(frame: &Frame<'a>) -> Result<T, Failure> {
    serde_json::from_slice(frame.data).map_err(|error| {
        Failure::Foreign(format!("event {} is not what it says: {error}", frame.id))
    })
}

fn ended(end: End) -> Result<Value> {
    match end {
        End::Succeeded { result } => Ok(result),
        End::Failed { error } => Err(OperationError::from(error).permanent()),
        End::Cancelled => Err(OperationError::message("the job was cancelled there").permanent()),
    }
}

/// How many outputs and progress events earlier attempts have left in the job's log.
async fn told(job: &JobContext) -> Result<u64> {
    if job.attempt() == 1 {
        return Ok(0);
    }
    let mut told = 0;
    let mut events = job.router().execute_job(job.id(), 0).await?;
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Output(_) | EventKind::Progress(_) => told += 1,
            EventKind::State { state, attempt }
                if state == "running" && attempt == job.attempt() =>
            {
                break;
            }
            _ => {}
        }
    }
    Ok(told)
}

/// The job at the server, which is abandoned when nobody relays it any more.
struct There<'a> {
    relay: &'a Relay<'a>,
    /// Its id there, once it's told.
    id: Option<JobId>,
    /// Whether it may have been taken, and isn't known to have ended.
    may_go_on: bool,
}

impl Drop for There<'_> {
    fn drop(&mut self) {
        if self.may_go_on {
            (self.relay.abandon)(self.relay.abandoned(self.id));
        }
    }
}
