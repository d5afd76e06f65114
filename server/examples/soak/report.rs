//! The numbers of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use skep::JobId;

/// What is counted while it happens.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) kills: AtomicU64,
    pub(crate) stops: AtomicU64,
    /// Servers that ended by themselves; as many as were `poisoned`.
    pub(crate) deaths: AtomicU64,
    /// How often a job took its server down.
    pub(crate) poisoned: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) resumes: AtomicU64,
    pub(crate) fails: AtomicU64,
    pub(crate) fails_late: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) clock: AtomicU64,
}

/// A promise that was broken.
#[derive(Clone)]
pub(crate) struct Violation {
    pub(crate) what: &'static str,
    pub(crate) job: Option<JobId>,
    pub(crate) detail: String,
}

/// What is looked for, and told also where there's none of it.
const PROMISES: [&str; 18] = [
    "lost",
    "ended twice",
    "holes within an attempt",
    "replays that differ",
    "other contents under one id",
    "ids that don't grow",
    "events that a reader missed",
    "events past the end",
    "steps run twice",
    "attempts run twice",
    "cancelled that weren't",
    "keys with two jobs",
    "wrong ends",
    "wrong outputs",
    "wrong records",
    "wrong logs",
    "wrong answers",
    "wrong exits",
];

/// A run's numbers, in their order.
pub(crate) struct Report {
    rows: Vec<(String, Value)>,
    /// How often each promise was broken.
    broken: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn new(
        rows: &[(&str, Value)],
        counters: &Counters,
        violations: &[Violation],
    ) -> Self {
        let counted = [
            ("kills", &counters.kills),
            ("graceful stops", &counters.stops),
            ("servers that a job took down", &counters.poisoned),
            ("requests refused (429, 503)", &counters.refused),
            ("requests cut off", &counters.unanswered),
            ("store calls that failed", &counters.fails),
            ("store calls done that failed", &counters.fails_late),
            ("times the database was locked", &counters.busy),
            ("times the disk was full", &counters.full),
            ("times writes failed", &counters.broken),
            ("times the clock was set", &counters.clock),
            ("cancellations promised", &counters.cancelled),
            ("events that readers saw", &counters.events),
            ("times that readers resumed", &counters.resumes),
        ];
        let counted = counted.map(|(name, count)| (name, count.load(Ordering::Relaxed).into()));
        let rows = rows.iter().cloned().chain(counted);
        let mut broken: BTreeMap<_, _> = PROMISES.into_iter().map(|what| (what, 0)).collect();
        for violation in violations {
            *broken.entry(violation.what).or_default() += 1;
        }
        Self { rows: rows.map(|(name, value)| (name.to_owned(), value)).collect(), broken }
    }

    /// A row a number.
    pub(crate) fn table(&self) -> String {
        let promises = PROMISES.iter().map(|what| (*what, self.broken[what]));
        let others = self.broken.iter().filter(|(what, _)| !PROMISES.contains(what));
        let rows = self.rows.iter().map(|(name, value)| format!("{name:<32}{value:>14}\n"));
        let broken = promises.chain(others.map(|(what, count)| (*what, *count)));
        rows.chain(broken.map(|(what, count)| format!("{what:<32}{count:>14}\n"))).collect()
    }

    /// The same for programs.
    pub(crate) fn json(&self, violations: &[Violation]) -> Value {
        let rows: Map<String, Value> = self.rows.iter().cloned().collect();
        let told = violations.iter().take(1000).map(|violation| {
            json!({ "what": violation.what, "job": violation.job, "detail": violation.detail })
        });
        json!({ "numbers": rows, "broken": self.broken, "violations": told.collect::<Vec<_>>() })
    }
}
