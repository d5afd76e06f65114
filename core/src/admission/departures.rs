//! How fast places in a queue fall free: what a refused client is told.

use std::time::{Duration, Instant};

/// The weight of the newest interval in the mean.
const WEIGHT: f64 = 0.1;

/// What is told while nothing is known, and the bounds of what is told.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// When jobs have left a queue lately, and how many were refused since.
#[derive(Default)]
pub(super) struct Departures {
    last: Option<Instant>,
    /// The mean time between two departures, in seconds.
    interval: Option<f64>,
    /// How many were told to come back for the places that fall free next.
    refused: u32,
}

impl Departures {
    /// A job has left the queue.
    pub(super) fn leave(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            let newest = (now - last).as_secs_f64();
            let mean = self.interval.map_or(newest, |mean| mean + WEIGHT * (newest - mean));
            self.interval = Some(mean);
        }
        self.refused = self.refused.saturating_sub(1);
    }

    /// Refuses a job: when there may be room for it, behind all that were refused before it.
    pub(super) fn refuse(&mut self) -> Duration {
        self.refused = self.refused.saturating_add(1);
        // A queue that has stood still for longer than its mean is slower by now.
        let waited = self.last.map_or(0.0, |last| last.elapsed().as_secs_f64());
        let interval = self.interval.unwrap_or_default().max(waited);
        let wait = Duration::try_from_secs_f64(interval * f64::from(self.refused));
        let (least, most) = RETRY_AFTER;
        wait.unwrap_or(most).clamp(least, most)
    }
}
