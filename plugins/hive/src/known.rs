//! What is known of a hive, and what its silence makes of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::heartbeat::Heartbeat;
use crate::hive::State;

/// After how long without a heartbeat a hive is late, and after how long offline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) late: Duration,
    pub(crate) offline: Duration,
}

/// What is known of a hive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) state: State,
    pub(crate) heartbeat: Option<Arc<Heartbeat>>,
    /// When it came.
    pub(crate) heard: Option<Instant>,
    pub(crate) heard_at: Option<Timestamp>,
    /// Why nothing is heard.
    pub(crate) failure: Option<String>,
}

impl Known {
    /// Why nothing is heard, unless the hive is online: a connection that has just broken off says
    /// nothing of that yet.
    pub(crate) fn silence(&self) -> Option<String> {
        self.failure.clone().filter(|_| self.state != State::Online)
    }
}

impl Thresholds {
    /// What a hive is that was last heard then, and when it becomes something else if it stays silent.
    pub(crate) fn state(self, heard: Option<Instant>, now: Instant) -> (State, Option<Instant>) {
        let Some(heard) = heard else { return (State::Offline, None) };
        let (late, offline) = (heard + self.late, heard + self.offline);
        match now {
            now if now < late => (State::Online, Some(late)),
            now if now < offline => (State::Late, Some(offline)),
            _ => (State::Offline, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_a_hive_late_then_offline() {
        let second = Duration::from_secs;
        let thresholds = Thresholds { late: second(5), offline: second(10) };
        let heard = Instant::now();
        for (after, state, next) in [
            (0, State::Online, Some(5)),
            (4, State::Online, Some(5)),
            (5, State::Late, Some(10)),
            (9, State::Late, Some(10)),
            (10, State::Offline, None),
            (99, State::Offline, None),
        ] {
            let next = next.map(|next| heard + second(next));
            let told = thresholds.state(Some(heard), heard + second(after));
            assert_eq!(told, (state, next), "after {after} s");
        }
        assert_eq!(thresholds.state(None, heard), (State::Offline, None));
    }
}
