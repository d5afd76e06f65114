//! Which works are measured, on whom, how long, and what must come out.

use crate::Result;
use crate::client::Protocol;
use crate::contender::Contender::{self, Before, Custom, Dropshot, Floor, Memory, Sqlite};
use crate::contender::Place;
use crate::rounds::Sample;
use crate::suite::Bound::{AtLeast, AtMost};
use crate::work::idle::{self, Jobs};
use crate::work::{jobs, latency, readers, replay, start, stream};

/// A work, and who does it.
pub(crate) struct Item {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) work: Work,
    pub(crate) contenders: &'static [Contender],
    pub(crate) goals: &'static [Goal],
}

/// What is done, and how much of it.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Stream { protocol: Protocol, connections: usize, events: u64 },
    Jobs { connections: usize, count: usize },
    Latency { jobs: usize },
    Idle { streams: usize, jobs: Jobs },
    Readers { readers: usize, events: u64, interval_us: u64 },
    Replay { events: u64 },
    Start,
}

/// What a figure of one contender must come to, as a part of another's or by itself.
pub(crate) struct Goal {
    pub(crate) figure: &'static str,
    pub(crate) who: Contender,
    pub(crate) of: Option<Contender>,
    pub(crate) must: Bound,
    pub(crate) aim: f64,
}

/// The border, and on which side of it a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(border) => value >= border,
            Self::AtMost(border) => value <= border,
        }
    }

    /// Whether a value is as good as what is hoped for.
    pub(crate) fn reaches(self, value: f64, aim: f64) -> bool {
        match self {
            Self::AtLeast(_) => value >= aim,
            Self::AtMost(_) => value <= aim,
        }
    }
}

impl Work {
    pub(crate) async fn sample(&self, contender: Contender, place: &Place) -> Result<Sample> {
        // What takes five times as long is measured for as long with a fifth of it.
        let slow = if matches!(contender, Before | Dropshot) { 5 } else { 1 };
        match *self {
            Self::Stream { protocol, connections, events } => {
                stream::sample(contender, place, protocol, connections, 1, events / slow).await
            }
            Self::Jobs { connections, count } => {
                jobs::sample(contender, place, connections, count).await
            }
            Self::Latency { jobs } => latency::sample(contender, place, jobs).await,
            Self::Idle { streams, jobs } => idle::sample(contender, place, streams, jobs).await,
            Self::Readers { readers, events, interval_us } => {
                let events = if interval_us == 0 { events / slow } else { events };
                readers::sample(contender, place, readers, events, interval_us).await
            }
            Self::Replay { events } => replay::sample(contender, place, events).await,
            Self::Start => start::sample(contender, place).await,
        }
    }
}

/// All works, in a size for daily use or in one to quote.
pub(crate) fn items(size: Size) -> Vec<Item> {
    let events = |quick: u64, full: u64| if size == Size::Quick { quick } else { full };
    let jobs = |quick: usize, full: usize| if size == Size::Quick { quick } else { full };
    let streams = jobs(2000, 10_000);
    vec![
        Item {
            name: "stream",
            title: "Long streams over 4 connections".to_owned(),
            work: Work::Stream {
                protocol: Protocol::Http1,
                connections: 4,
                events: events(500_000, 2_500_000),
            },
            contenders: &[Floor, Before, Memory, Sqlite, Dropshot],
            goals: STREAM,
        },
        Item {
            name: "h2",
            title: "The same over HTTP/2".to_owned(),
            work: Work::Stream {
                protocol: Protocol::Http2,
                connections: 4,
                events: events(250_000, 1_000_000),
            },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: &[],
        },
        Item {
            name: "jobs16",
            title: "Whole jobs of 3 events, 16 connections".to_owned(),
            work: Work::Jobs { connections: 16, count: jobs(10_000, 50_000) },
            contenders: &[Floor, Before, Memory, Sqlite, Dropshot],
            goals: JOBS_16,
        },
        Item {
            name: "jobs64",
            title: "Whole jobs of 3 events, 64 connections".to_owned(),
            work: Work::Jobs { connections: 64, count: jobs(10_000, 50_000) },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: JOBS_64,
        },
        Item {
            name: "latency",
            title: "From a POST to its first event, light load".to_owned(),
            work: Work::Latency { jobs: jobs(500, 2000) },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: LATENCY,
        },
        Item {
            name: "idle",
            title: format!("Memory of idle streams of one job, {streams} of them"),
            work: Work::Idle { streams, jobs: Jobs::One },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: IDLE,
        },
        Item {
            name: "idle-jobs",
            title: format!("Memory of idle jobs with a stream each, {streams}"),
            work: Work::Idle { streams, jobs: Jobs::Each },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: &[],
        },
        Item {
            name: "readers",
            title: "One job as fast as it can, 1,000 readers".to_owned(),
            work: Work::Readers { readers: 1000, events: events(1000, 5000), interval_us: 0 },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: READERS,
        },
        Item {
            name: "readers-paced",
            title: "One job of an event each 10 ms, 1,000 readers".to_owned(),
            work: Work::Readers { readers: 1000, events: events(100, 200), interval_us: 10_000 },
            contenders: &[Floor, Before, Memory],
            goals: &[],
        },
        Item {
            name: "replay",
            title: "Replay of a stored job after a restart".to_owned(),
            work: Work::Replay { events: 1_000_000 },
            contenders: &[Floor, Sqlite],
            goals: REPLAY,
        },
        Item {
            name: "start",
            title: "From nothing to the first answer; the program's size".to_owned(),
            work: Work::Start,
            contenders: &[Sqlite, Custom],
            goals: START,
        },
    ]
}

/// Those of `all` whose names are asked for: all of them if none is.
///
/// # Errors
/// If there's none of a name.
pub(crate) fn wanted<T>(
    all: Vec<T>,
    names: &[String],
    name_of: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>> {
    if let Some(name) = names.iter().find(|name| all.iter().all(|one| name_of(one) != **name)) {
        let known: Vec<_> = all.iter().map(name_of).collect();
        return Err(format!("no work `{name}`: there are {}", known.join(", ")).into());
    }
    let is_wanted = |one: &T| names.is_empty() || names.iter().any(|name| name == name_of(one));
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// How long the measurements take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// For daily use.
    Quick,
    /// To quote.
    Full,
}

/// A goal beside another contender.
const fn goal(figure: &'static str, who: Contender, of: Contender, must: Bound, aim: f64) -> Goal {
    Goal { figure, who, of: Some(of), must, aim }
}

/// A goal by itself.
const fn alone(figure: &'static str, who: Contender, must: Bound, aim: f64) -> Goal {
    Goal { figure, who, of: None, must, aim }
}

const STREAM: &[Goal] = &[
    goal("events/s", Memory, Floor, AtLeast(0.7), 1.0),
    goal("events/s", Memory, Before, AtLeast(4.0), 4.0),
    goal("CPU us/event", Memory, Before, AtMost(0.15), 0.07),
    goal("CPU us/event", Sqlite, Before, AtMost(0.3), 0.12),
    goal("events/s", Sqlite, Memory, AtLeast(0.7), 0.95),
];

const JOBS_16: &[Goal] = &[
    goal("jobs/s", Memory, Floor, AtLeast(0.9), 1.1),
    goal("jobs/s", Memory, Before, AtLeast(1.0), 1.0),
    goal("jobs/s", Sqlite, Floor, AtLeast(0.4), 0.7),
];

const JOBS_64: &[Goal] = &[goal("jobs/s", Sqlite, Floor, AtLeast(0.55), 0.8)];

const LATENCY: &[Goal] = &[
    goal("p50 us", Memory, Floor, AtMost(1.5), 1.15),
    goal("p99 us", Memory, Floor, AtMost(2.0), 1.3),
];

const IDLE: &[Goal] = &[
    goal("KiB/stream", Memory, Floor, AtMost(1.2), 0.8),
    alone("KiB/stream", Memory, AtMost(24.0), 24.0),
];

const READERS: &[Goal] = &[goal("CPU us/delivery", Memory, Before, AtMost(0.5), 0.1)];

const REPLAY: &[Goal] = &[goal("events/s", Sqlite, Floor, AtLeast(0.7), 1.0)];

const START: &[Goal] = &[
    alone("ms to 200", Sqlite, AtMost(100.0), 50.0),
    alone("ms to 200", Custom, AtMost(50.0), 15.0),
    alone("MB", Sqlite, AtMost(40.0), 25.0),
    alone("MB", Custom, AtMost(12.0), 6.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_that_does_not_exist_is_named_beside_those_that_do() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            wanted(vec!["stream", "jobs16", "idle"], &names, |name| name)
        };
        assert_eq!(names(&[]).unwrap(), ["stream", "jobs16", "idle"]);
        assert_eq!(names(&["idle", "stream"]).unwrap(), ["stream", "idle"]);
        let error = names(&["idle", "jobs"]).unwrap_err();
        assert_eq!(error.to_string(), "no work `jobs`: there are stream, jobs16, idle");
    }
}
