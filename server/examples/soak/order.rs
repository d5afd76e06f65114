//! Which jobs are asked for, and how each may end.

use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

/// How often a job may be running when its server dies: `jobs.max_attempts` of the server.
pub(crate) const MAX_ATTEMPTS: u64 = 4;

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The stock `echo`.
    Echo,
    /// Numbered events.
    Count,
    /// So many of them that the log gets a file of its own.
    Large,
    /// Of an operation that isn't idempotent.
    Once,
    /// Tried again, and succeeds in the end.
    Flaky,
    /// Tried again, for nothing.
    Hopeless,
    Checkpoint,
    Steps,
    /// Long enough to be cancelled.
    Wait,
    /// With a time limit that it doesn't keep.
    Late,
    /// Calls another job.
    Call,
    Fail,
    Panic,
    /// Takes its server down, until it's given up.
    Poison,
}

impl Kind {
    /// Operations whose jobs are looked at whoever asked for them.
    pub(crate) const ONCE: &'static str = "soak_once";
    pub(crate) const POISON: &'static str = "soak_abort";
}

/// How often each kind is asked for. Poison is the driver's to give.
const SHARES: [(Kind, u32); 13] = [
    (Kind::Echo, 300),
    (Kind::Count, 190),
    (Kind::Large, 10),
    (Kind::Once, 110),
    (Kind::Flaky, 60),
    (Kind::Hopeless, 20),
    (Kind::Checkpoint, 50),
    (Kind::Steps, 50),
    (Kind::Wait, 70),
    (Kind::Late, 20),
    (Kind::Call, 60),
    (Kind::Fail, 30),
    (Kind::Panic, 30),
];

/// A job that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) operation: &'static str,
    pub(crate) input: Value,
    /// How many events of output it has in the attempt that succeeds.
    pub(crate) n: u64,
}

impl Order {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut at = rng.u32(0..SHARES.iter().map(|(_, share)| share).sum());
        for (kind, share) in SHARES {
            if at < share {
                return Self::of(kind, rng);
            }
            at -= share;
        }
        unreachable!("the shares are all there is")
    }

    /// An order of this kind.
    pub(crate) fn of(kind: Kind, rng: &mut Rng) -> Self {
        // Most are over at once; some go on for seconds, so that every kill meets many.
        let pause_ms = if rng.u8(0..4) == 0 { rng.u64(10..250) } else { 0 };
        let n = rng.u64(1..=20);
        let (operation, n, input) = match kind {
            Kind::Echo => ("echo", n, json!({ "value": rng.u64(..), "count": n })),
            Kind::Count => ("soak_count", n, json!({ "n": n, "pause_ms": pause_ms })),
            Kind::Large => {
                let (n, pad) = (rng.u64(800..2000), rng.u64(60..200));
                let pause_ms = rng.u64(0..2);
                ("soak_count", n, json!({ "n": n, "pad": pad, "pause_ms": pause_ms }))
            }
            Kind::Once => (Kind::ONCE, n, json!({ "n": n, "pause_ms": pause_ms })),
            Kind::Flaky => ("soak_flaky", n, json!({ "n": n, "fails": rng.u32(1..=4) })),
            Kind::Hopeless => ("soak_flaky", n, json!({ "n": n, "fails": u32::MAX })),
            Kind::Checkpoint => {
                let every = rng.u64(1..=5);
                ("soak_checkpoint", n, json!({ "n": n, "every": every, "pause_ms": pause_ms }))
            }
            Kind::Steps => ("soak_steps", n, json!({ "n": n, "pause_ms": pause_ms })),
            Kind::Wait => ("soak_wait", 1, json!({ "ms": rng.u64(0..3000) })),
            Kind::Late => ("soak_wait", 1, json!({ "ms": 60_000 })),
            Kind::Call => ("soak_call", n, json!({ "n": n, "pause_ms": pause_ms })),
            Kind::Fail => ("soak_fail", n, json!({ "n": n })),
            Kind::Panic => ("soak_panic", n, json!({ "n": n })),
            Kind::Poison => (Kind::POISON, 0, json!({})),
        };
        Self { kind, operation, input, n }
    }

    /// What `Skep-Timeout` says, if anything.
    pub(crate) fn timeout(&self) -> Option<&'static str> {
        (self.kind == Kind::Late).then_some("300ms")
    }

    /// Whether a job of this order may end so, when nobody cancelled it.
    pub(crate) fn may_end(&self, end: &End) -> bool {
        // Its server died too often while it ran.
        if end.crashes() >= Some(MAX_ATTEMPTS) {
            return true;
        }
        let code = end.code();
        match self.kind {
            Kind::Echo => end.result() == Some(&json!({ "count": self.n })),
            Kind::Once => end.result() == Some(&self.n.into()) || code == Some("interrupted"),
            Kind::Hopeless => code == Some("soak-flaky"),
            Kind::Late => code == Some("timeout"),
            Kind::Fail => code == Some("soak-fail"),
            Kind::Panic => code == Some("panic"),
            Kind::Poison => false,
            // Its store may fail it, and more often than it's tried again.
            Kind::Checkpoint | Kind::Steps => {
                end.result() == Some(&self.n.into()) || code == Some("store-unavailable")
            }
            Kind::Call => {
                let codes = ["store-unavailable", "too-many-jobs", "interrupted", "shutting-down"];
                end.result() == Some(&self.n.into()) || code.is_some_and(|it| codes.contains(&it))
            }
            Kind::Count | Kind::Large | Kind::Flaky | Kind::Wait => {
                end.result() == Some(&self.n.into())
            }
        }
    }
}

/// The data of an `end` event.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum End {
    Succeeded { result: Value },
    Failed { error: Value },
    Cancelled,
}

impl End {
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn result(&self) -> Option<&Value> {
        if let Self::Succeeded { result } = self { Some(result) } else { None }
    }

    /// The code of the error, if it failed.
    pub(crate) fn code(&self) -> Option<&str> {
        if let Self::Failed { error } = self { error["code"].as_str() } else { None }
    }

    /// How many crashes an interrupted job tells of.
    fn crashes(&self) -> Option<u64> {
        if let Self::Failed { error } = self { error["crashes"].as_u64() } else { None }
    }
}
