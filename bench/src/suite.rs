//! Which works are measured, on whom, and how long.

use crate::Result;
use crate::client::Protocol;
use crate::contender::Contender::{
    self, Before, Custom, Dropshot, DurableStreams, Floor, Jsonrpsee, LlamaCpp, Memory, Rmcp,
    Sqlite, Writing,
};
use crate::contender::{Mode, Place};
use crate::goals::{self, Goal};
use crate::rounds::Sample;
use crate::work::idle::{self, Jobs};
use crate::work::tokens::{self, Model};
use crate::work::{append, jobs, latency, readers, replay, start, stream};

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
    Append { connections: usize, events: u64, posts: u64 },
    Replay { events: u64, readings: u64 },
    Start,
    Tokens { model: Model, tokens: u64 },
}

impl Work {
    pub(crate) async fn sample(&self, contender: Contender, place: &Place) -> Result<Sample> {
        // What takes longer is measured for as long with a part of it.
        let slow = match contender {
            Before | Dropshot => 5,
            Jsonrpsee | Rmcp => 10,
            _ => 1,
        };
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
            Self::Append { connections, events, posts } => match contender {
                DurableStreams(_) => append::sample(contender, place, connections, posts).await,
                _ => {
                    stream::sample(contender, place, Protocol::Http1, connections, 1, events).await
                }
            },
            Self::Replay { events, readings } => match contender {
                DurableStreams(_) => replay::sample_log(contender, place, events, readings).await,
                _ => replay::sample(contender, place, events, readings).await,
            },
            Self::Start => start::sample(contender, place).await,
            Self::Tokens { model, tokens } => tokens::sample(contender, place, model, tokens).await,
        }
    }
}

/// All works, in a size for daily use or in one to quote.
pub(crate) fn items(size: Size) -> Vec<Item> {
    let events = |quick: u64, full: u64| if size == Size::Quick { quick } else { full };
    let jobs = |quick: usize, full: usize| if size == Size::Quick { quick } else { full };
    let streams = jobs(2000, 10_000);
    let mut items = vec![
        Item {
            name: "stream",
            title: "Long streams over 4 connections".to_owned(),
            work: Work::Stream {
                protocol: Protocol::Http1,
                connections: 4,
                events: events(500_000, 2_500_000),
            },
            contenders: &[Floor, Writing, Before, Memory, Sqlite, Dropshot, Jsonrpsee, Rmcp],
            goals: goals::STREAM,
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
            goals: goals::JOBS_16,
        },
        Item {
            name: "jobs64",
            title: "Whole jobs of 3 events, 64 connections".to_owned(),
            work: Work::Jobs { connections: 64, count: jobs(10_000, 50_000) },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: goals::JOBS_64,
        },
        Item {
            name: "latency",
            title: "From a POST to its first event, light load".to_owned(),
            work: Work::Latency { jobs: jobs(500, 2000) },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: goals::LATENCY,
        },
        Item {
            name: "idle",
            title: format!("Memory of idle streams of one job, {streams} of them"),
            work: Work::Idle { streams, jobs: Jobs::One },
            contenders: &[Floor, Before, Memory, Sqlite],
            goals: goals::IDLE,
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
            goals: goals::READERS,
        },
        Item {
            name: "readers-paced",
            title: "One job of an event each 10 ms, 1,000 readers".to_owned(),
            work: Work::Readers { readers: 1000, events: events(100, 200), interval_us: 10_000 },
            contenders: &[Floor, Before, Memory],
            goals: &[],
        },
        Item {
            name: "start",
            title: "From nothing to the first answer; the program's size".to_owned(),
            work: Work::Start,
            contenders: &[Sqlite, Custom],
            goals: goals::START,
        },
    ];
    items.extend(stores(size));
    if size == Size::Full {
        items.extend(models());
    }
    items
}

/// What a build is trained by: the works for daily use, but those in which it waits.
pub(crate) fn training() -> impl Iterator<Item = Item> {
    let teaches = |item: &Item| !matches!(item.work, Work::Idle { .. } | Work::Start);
    items(Size::Quick).into_iter().filter(teaches)
}

/// What is stored, and read from its store.
fn stores(size: Size) -> [Item; 3] {
    // So many over each connection; those who take a request for each are as busy with fewer.
    let (events, posts) = if size == Size::Quick { (30_000, 100) } else { (150_000, 500) };
    [
        Item {
            name: "replay",
            title: "Replay of a stored job after a restart".to_owned(),
            work: Work::Replay { events: 1_000_000, readings: 1 },
            contenders: &[Floor, Sqlite],
            goals: goals::REPLAY,
        },
        Item {
            name: "durable",
            title: "Events that are stored, 32 connections: emitted by a job, or posted one by one"
                .to_owned(),
            work: Work::Append { connections: 32, events, posts },
            contenders: KEEPERS,
            goals: &[],
        },
        Item {
            name: "history",
            title: "Replay of 200,000 stored events, ten times".to_owned(),
            work: Work::Replay { events: 200_000, readings: 10 },
            contenders: KEEPERS,
            goals: &[],
        },
    ]
}

/// Models, which have to be there and take their time: only in the size to quote.
fn models() -> [Item; 2] {
    let item = |name, model, title: &str, contenders, goals| Item {
        name,
        title: format!("{title}, 128 tokens, greedy, a thread a core"),
        work: Work::Tokens { model, tokens: 128 },
        contenders,
        goals,
    };
    [
        item(
            "tokens",
            Model::Smollm2,
            "SmolLM2 135M, Q4_1",
            &[Memory, LlamaCpp(Model::Smollm2)],
            goals::TOKENS_SMOLLM2,
        ),
        item(
            "tokens-gemma",
            Model::Gemma3,
            "Gemma 3 270M, Q4_K_M",
            &[Memory, LlamaCpp(Model::Gemma3)],
            goals::TOKENS_GEMMA3,
        ),
    ]
}

/// Who stores what it's given; one of them in memory, to compare with.
const KEEPERS: &[Contender] =
    &[Sqlite, DurableStreams(Mode::Memory), DurableStreams(Mode::File), DurableStreams(Mode::Acid)];

/// Those of `all` whose names are asked for: all of them if none is.
///
/// # Errors
/// If there's none of a name.
pub(crate) fn wanted<T>(
    what: &str,
    all: Vec<T>,
    names: &[String],
    name_of: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>> {
    if let Some(name) = names.iter().find(|name| all.iter().all(|one| name_of(one) != **name)) {
        let known: Vec<_> = all.iter().map(name_of).collect();
        return Err(format!("no {what} `{name}`: there are {}", known.join(", ")).into());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_that_does_not_exist_is_named_beside_those_that_do() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            wanted("work", vec!["stream", "jobs16", "idle"], &names, |name| name)
        };
        assert_eq!(names(&[]).unwrap(), ["stream", "jobs16", "idle"]);
        assert_eq!(names(&["idle", "stream"]).unwrap(), ["stream", "idle"]);
        let error = names(&["idle", "jobs"]).unwrap_err();
        assert_eq!(error.to_string(), "no work `jobs`: there are stream, jobs16, idle");
    }
}
