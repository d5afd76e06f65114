//! Whether a worker's process still answers: one that hangs would hold its jobs for ever.
//!
//! What answers is the process, beside what it computes: a computation that finds no end isn't noticed, and
//! its jobs have their own time limits.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::session::Session;

/// How often a process is asked for a sign of life, at the least.
const PING_EVERY: Duration = Duration::from_secs(2);

/// In how many pings a silence is measured, at the least.
const PINGS: u32 = 5;

/// Waits until the process has said nothing for `limit`, though it was asked. Silences are counted in
/// pings, not by the clock: a server that was itself suspended doesn't blame its workers. Cancel-safe.
pub(crate) async fn silent(session: &Session, limit: Duration) {
    let every = PING_EVERY.min(limit / PINGS).max(Duration::from_millis(1));
    let mut pings = interval(every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silence, mut is_asked) = (Duration::ZERO, false);
    loop {
        pings.tick().await;
        if session.was_heard() {
            (silence, is_asked) = (Duration::ZERO, false);
        } else if silence >= limit {
            return;
        }
        silence += every;
        // One at a time: they would take the room of what jobs ask for.
        is_asked = is_asked || session.ping();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::Receiver;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::log::Log;
    use crate::protocol::{Ask, Generate, Prompt, Reply, Request, Say};
    use crate::queue::Queue;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Answers everything, until it has been asked so often.
    async fn answer(session: &Session, requests: &mut Receiver<Request>, times: u32) {
        for _ in 0..times {
            let Some(Request { id, .. }) = requests.recv().await else { return };
            session.heard(Reply { id: Some(id), say: Say::Result(json!(null)) }).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_silent_when_it_has_not_answered_for_the_limit() {
        let (session, mut requests) = Session::new(1, Log::new().before_last(0));
        let begun = Instant::now();
        let (quiet_since, ()) = tokio::join!(
            async {
                answer(&session, &mut requests, 100).await;
                Instant::now()
            },
            silent(&session, LIMIT),
        );
        assert!(quiet_since - begun >= Duration::from_secs(190), "{quiet_since:?}");
        let silence = quiet_since.elapsed();
        assert!((LIMIT..=LIMIT + 2 * PING_EVERY).contains(&silence), "{silence:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_not_read_is_not_called_silent() {
        let (session, mut requests) = Session::new(1, Log::new().before_last(0));
        let place = Queue::new().enter().unwrap();
        let generate = Generate {
            input: Prompt::Prompt(String::new()),
            max_tokens: None,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
        };
        let Ok(mut replies) = session.ask(Ask::Infer(generate), place).await else {
            panic!("the process runs")
        };
        let id = requests.recv().await.unwrap().id;
        // More than a job that doesn't read has room for.
        let tells = async {
            for _ in 0..100 {
                session.heard(Reply { id: Some(id), say: Say::Emit(json!(1)) }).await;
            }
        };
        let waits = timeout(10 * LIMIT, silent(&session, LIMIT));
        let reads = async {
            sleep(5 * LIMIT).await;
            for _ in 0..100 {
                assert!(replies.next().await.is_ok());
            }
        };
        // It's silent once it's read and says nothing.
        let begun = Instant::now();
        let (waited, (), ()) = tokio::join!(waits, tells, reads);
        assert!(waited.is_ok());
        assert!(begun.elapsed() >= 6 * LIMIT, "{:?}", begun.elapsed());
    }
}
