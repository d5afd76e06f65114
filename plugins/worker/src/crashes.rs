//! Models whose workers crash again and again: the pauses before the next is started.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skep::prelude::*;
use tokio::time::Instant;

/// The first crash of a row that is followed by a pause.
const FIRST_PAUSED: u32 = 3;

/// The pause after that one, which doubles with each further one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// After how long a crash is no longer one of a row.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// The crashes of each model's workers since one of them has answered.
#[derive(Default)]
pub(crate) struct Crashes(Mutex<HashMap<String, Row>>);

struct Row {
    count: u32,
    last: Instant,
    /// The last lines of the last one's log.
    lines: Vec<String>,
}

/// How long no other worker of a model is started after so many crashes in a row.
pub(crate) fn pause(crashes: u32) -> Duration {
    match crashes.checked_sub(FIRST_PAUSED) {
        None => Duration::ZERO,
        Some(over) => PAUSES.0.saturating_mul(2_u32.saturating_pow(over)).min(PAUSES.1),
    }
}

impl Crashes {
    /// A worker of the model has crashed, with these last words.
    pub(crate) fn note(&self, model: &str, lines: Vec<String>) {
        let mut rows = self.lock();
        rows.retain(|_, row| row.last.elapsed() < FORGOTTEN);
        let count = rows.get(model).map_or(0, |row| row.count) + 1;
        rows.insert(model.to_owned(), Row { count, last: Instant::now(), lines });
    }

    /// A worker of the model has answered.
    pub(crate) fn forget(&self, model: &str) {
        self.lock().remove(model);
    }

    /// Whether another worker of the model may be started.
    ///
    /// # Errors
    /// `worker-crash-loop` (503), with the last lines of the log (`log`), and when it may be tried again.
    pub(crate) fn check(&self, model: &str) -> Result<()> {
        let rows = self.lock();
        let Some(Row { count, last, lines }) = rows.get(model) else { return Ok(()) };
        let left = pause(*count).saturating_sub(last.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        let detail = format!(
            "{count} processes of workers of the model `{model}` have crashed one after the other; the next \
             worker may be started in {:.1} s. The last one's last words: {}",
            left.as_secs_f64(),
            lines.last().map_or("none", String::as_str),
        );
        let error = OperationError::new("worker-crash-loop", detail).with_status(503);
        Err(error.with_retry_after(left).with("log", lines.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        // Only map operations run under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn crash(crashes: &Crashes, times: u32) {
        for time in 0..times {
            crashes.note("m", vec!["first".to_owned(), format!("words {time}")]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_some_crashes_there_are_pauses_that_grow() {
        let crashes = Crashes::default();
        crash(&crashes, 2);
        crashes.check("m").unwrap();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            crash(&crashes, 1);
            let problem = crashes.check("m").unwrap_err().into_problem();
            assert_eq!((&*problem.code, problem.status), ("worker-crash-loop", 503));
            assert_eq!(problem.retry_after(), Some(Duration::from_secs(pause)));
            assert_eq!(problem.extensions["log"][0], "first");
            assert!(problem.detail.ends_with("words 0"), "{problem}");
            crashes.check("other").unwrap();
            advance(Duration::from_secs(pause)).await;
            crashes.check("m").unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_row_and_so_does_time() {
        let crashes = Crashes::default();
        crash(&crashes, 3);
        assert!(crashes.check("m").is_err());
        crashes.forget("m");
        crashes.check("m").unwrap();
        crash(&crashes, 2);
        advance(FORGOTTEN).await;
        crash(&crashes, 2);
        crashes.check("m").unwrap();
    }
}
