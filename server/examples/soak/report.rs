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
    /// How often a job took its server down.
    pub(crate) poisoned: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) resumes: AtomicU64,
    pub(crate) store: Felt,
    pub(crate) busy: Felt,
    pub(crate) full: Felt,
    pub(crate) broken: Felt,
    pub(crate) clock: Felt,
}

/// A kind of trouble.
#[derive(Default)]
pub(crate) struct Felt {
    /// How often it was made.
    pub(crate) made: AtomicU64,
    /// How often it showed: in a call that failed, a complaint of the store, a job's time.
    pub(crate) felt: AtomicU64,
}

impl Counters {
    /// Each kind of trouble, and how it's told.
    fn troubles(&self) -> [(&'static str, &'static str, &Felt); 5] {
        [
            ("times the store's calls failed", "calls that failed", &self.store),
            ("times the database was locked", "complaints of that", &self.busy),
            ("times the disk was full", "complaints of that", &self.full),
            ("times writes failed", "complaints of that", &self.broken),
            ("times the clock was set", "times a job's time shows that", &self.clock),
        ]
    }

    /// What this run can't have shown.
    pub(crate) fn untested(&self) -> Vec<String> {
        let many = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut untested = Vec::new();
        if many(&self.kills) == 0 {
            untested.push("no server was killed, give it more minutes".to_owned());
        }
        for (made, felt, trouble) in self.troubles() {
            // One alone may be over before the server needs what it lacks.
            if many(&trouble.made) >= MANY && many(&trouble.felt) == 0 {
                untested.push(format!("{made}: {}, {felt}: 0", many(&trouble.made)));
            }
        }
        untested
    }
}

/// How often trouble is made before it must have been felt.
const MANY: u64 = 3;

/// A promise that was broken.
#[derive(Clone)]
pub(crate) struct Violation {
    pub(crate) what: &'static str,
    pub(crate) job: Option<JobId>,
    pub(crate) detail: String,
}

/// What is looked for, and told also where there's none of it.
const PROMISES: [&str; 21] = [
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
    "wrong lists",
    "wrong answers",
    "wrong exits",
    "damaged stores",
    "untested",
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
            ("cancellations promised", &counters.cancelled),
            ("events that readers saw", &counters.events),
            ("times that readers resumed", &counters.resumes),
        ];
        let counted = counted.map(|(name, count)| (name.to_owned(), count));
        let troubles = counters.troubles().into_iter().flat_map(|(made, felt, trouble)| {
            [(made.to_owned(), &trouble.made), (format!("{made}: {felt}"), &trouble.felt)]
        });
        let counted = counted.into_iter().chain(troubles);
        let counted = counted.map(|(name, count)| (name, count.load(Ordering::Relaxed).into()));
        let rows = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let rows = rows.chain(counted).collect();
        let mut broken: BTreeMap<_, _> = PROMISES.into_iter().map(|what| (what, 0)).collect();
        for violation in violations {
            *broken.entry(violation.what).or_default() += 1;
        }
        Self { rows, broken }
    }

    /// A row a number.
    pub(crate) fn table(&self) -> String {
        let promises = PROMISES.iter().map(|what| (*what, self.broken[what]));
        let others = self.broken.iter().filter(|(what, _)| !PROMISES.contains(what));
        let rows = self.rows.iter().map(|(name, value)| format!("{name:<62}{value:>14}\n"));
        let broken = promises.chain(others.map(|(what, count)| (*what, *count)));
        rows.chain(broken.map(|(what, count)| format!("{what:<62}{count:>14}\n"))).collect()
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
