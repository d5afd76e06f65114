//! What must come out of the works.

use crate::contender::Contender::{self, Before, Custom, Floor, LlamaCpp, Memory, Sqlite};
use crate::goals::Bound::{AtLeast, AtMost};
use crate::work::tokens::Model;

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

/// A goal beside another contender.
const fn goal(figure: &'static str, who: Contender, of: Contender, must: Bound, aim: f64) -> Goal {
    Goal { figure, who, of: Some(of), must, aim }
}

/// A goal by itself.
const fn alone(figure: &'static str, who: Contender, must: Bound, aim: f64) -> Goal {
    Goal { figure, who, of: None, must, aim }
}

pub(crate) const STREAM: &[Goal] = &[
    goal("events/s", Memory, Floor, AtLeast(0.7), 1.0),
    goal("events/s", Memory, Before, AtLeast(4.0), 4.0),
    goal("CPU us/event", Memory, Before, AtMost(0.15), 0.07),
    goal("CPU us/event", Sqlite, Before, AtMost(0.3), 0.12),
    goal("events/s", Sqlite, Memory, AtLeast(0.7), 0.95),
];

pub(crate) const JOBS_16: &[Goal] = &[
    goal("jobs/s", Memory, Floor, AtLeast(0.9), 1.1),
    goal("jobs/s", Memory, Before, AtLeast(1.0), 1.0),
    goal("jobs/s", Sqlite, Floor, AtLeast(0.4), 0.7),
];

pub(crate) const JOBS_64: &[Goal] = &[goal("jobs/s", Sqlite, Floor, AtLeast(0.55), 0.8)];

pub(crate) const LATENCY: &[Goal] = &[
    goal("p50 us", Memory, Floor, AtMost(1.5), 1.15),
    goal("p99 us", Memory, Floor, AtMost(2.0), 1.3),
];

pub(crate) const IDLE: &[Goal] = &[
    goal("KiB/stream", Memory, Floor, AtMost(1.2), 0.8),
    alone("KiB/stream", Memory, AtMost(24.0), 24.0),
];

pub(crate) const READERS: &[Goal] = &[goal("CPU us/delivery", Memory, Before, AtMost(0.5), 0.1)];

pub(crate) const REPLAY: &[Goal] = &[goal("events/s", Sqlite, Floor, AtLeast(0.7), 1.0)];

pub(crate) const START: &[Goal] = &[
    alone("ms to 200", Sqlite, AtMost(100.0), 50.0),
    alone("ms to 200", Custom, AtMost(50.0), 15.0),
    alone("MB", Sqlite, AtMost(40.0), 25.0),
    alone("MB", Custom, AtMost(12.0), 6.0),
];

pub(crate) const TOKENS_SMOLLM2: &[Goal] = &[tokens(Model::Smollm2)];

pub(crate) const TOKENS_GEMMA3: &[Goal] = &[tokens(Model::Gemma3)];

/// Through the whole of Skep, beside llama.cpp on the same file and threads.
const fn tokens(model: Model) -> Goal {
    goal("tokens/s, first to last", Memory, LlamaCpp(model), AtLeast(0.7), 1.0)
}
