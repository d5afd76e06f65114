//! How long another server may not answer, and when it's tried again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long an outage may take, whatever else is known of the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before a connection is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A stream that stood for so long has ended the outage, also if it brought no event.
const STEADY: Duration = Duration::from_secs(5);

/// A time without a stream that stands.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    pause: Duration,
}

impl Outage {
    /// A try has failed, whose stream stood since `opened`. A try that has opened none ends no outage,
    /// however long it took.
    pub(crate) fn follow(&mut self, opened: Option<Instant>) {
        if opened.is_some_and(|opened| opened.elapsed() >= STEADY) {
            *self = Self::default();
        }
    }

    /// Waits before the next try, longer each time. Returns whether there is one.
    pub(crate) async fn bear(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            return false;
        }
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        sleep(self.pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tries_that_fail_slowly_are_an_outage_as_those_that_fail_at_once() {
        let mut outage = Outage::default();
        let mut tries = 0;
        loop {
            advance(2 * STEADY).await;
            outage.follow(None);
            if !outage.bear().await {
                break;
            }
            tries += 1;
            assert!(tries < 10, "it never ends");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_stood_for_a_while_has_ended_the_outage() {
        let mut outage = Outage::default();
        for _ in 0..100 {
            let opened = Instant::now();
            advance(STEADY).await;
            outage.follow(Some(opened));
            assert!(outage.bear().await);
        }
        outage.follow(Some(Instant::now()));
        advance(PATIENCE).await;
        outage.follow(Some(Instant::now()));
        assert!(!outage.bear().await, "one that broke off at once hasn't");
    }
}
