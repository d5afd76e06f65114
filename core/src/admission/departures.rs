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
    /// A first job waits: how long nobody did says nothing of how fast places fall free.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = Some(now);
        self.refused = 0;
    }

    /// A job has left the queue.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let newest = (now - last).as_secs_f64();
            let mean = self.interval.map_or(newest, |mean| mean + WEIGHT * (newest - mean));
            self.interval = Some(mean);
        }
        self.refused = self.refused.saturating_sub(1);
    }

    /// Refuses a job: when there may be room for it, behind all that were refused before it.
    pub(super) fn refuse(&mut self, now: Instant) -> Duration {
        self.refused = self.refused.saturating_add(1);
        // A queue in which nothing has moved for longer than its mean is slower by now.
        let waited = self.last.map_or(0.0, |last| (now - last).as_secs_f64());
        let interval = self.interval.unwrap_or_default().max(waited);
        let wait = Duration::try_from_secs_f64(interval * f64::from(self.refused));
        let (least, most) = RETRY_AFTER;
        wait.unwrap_or(most).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue's second number `at`.
    fn second(begun: Instant, at: u64) -> Instant {
        begun + Duration::from_secs(at)
    }

    #[test]
    fn who_is_refused_is_told_to_come_back_behind_those_before() {
        let begun = Instant::now();
        let mut departures = Departures::default();
        departures.begin(begun);
        for at in 1..=10 {
            departures.leave(second(begun, 3 * at));
        }
        let told: Vec<_> = (0..3).map(|_| departures.refuse(second(begun, 30))).collect();
        assert_eq!(told, [3, 6, 9].map(Duration::from_secs));
        // The first of them has its place now.
        departures.leave(second(begun, 33));
        assert_eq!(departures.refuse(second(begun, 33)), Duration::from_secs(9));
    }

    #[test]
    fn a_queue_in_which_nothing_moves_is_slow() {
        let begun = Instant::now();
        let mut departures = Departures::default();
        departures.begin(begun);
        departures.leave(second(begun, 2));
        assert_eq!(departures.refuse(second(begun, 62)), Duration::from_mins(1));
    }

    #[test]
    fn the_time_in_which_nobody_waited_and_those_refused_before_it_count_for_nothing() {
        let begun = Instant::now();
        let mut departures = Departures::default();
        departures.begin(begun);
        departures.leave(second(begun, 2));
        for _ in 0..1_000 {
            departures.refuse(second(begun, 3));
        }
        let later = second(begun, 3_600);
        departures.begin(later);
        assert_eq!(departures.refuse(later), Duration::from_secs(2));
        departures.leave(later + Duration::from_secs(2));
        assert_eq!(departures.refuse(later + Duration::from_secs(2)), Duration::from_secs(2));
    }
}
