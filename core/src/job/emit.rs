//! Emitting: how a handler's events get into the log of its job.
//!
//! This is what a stream does most. An event is serialised into a buffer of its thread, copied into
//! the log, and that's all, nearly always: no allocation, no future that has anything to do, and
//! nothing that is handed on through memory.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use serde::Serialize;

use crate::error::{OperationError, Result};
use crate::job::context::stopping;
use crate::job::event::{Field, LogLevel, LogLine, Progress, write_body};
use crate::job::live::body;
use crate::job::log::Refused;
use crate::job::{JobContext, Stop, stint};

/// A buffer that is larger than this is not kept for the next event, bytes.
const MAX_KEPT_BUFFER: usize = 64 * 1024;

thread_local! {
    /// Where events are serialised, before they are copied into the log under its lock: an
    /// author's `Serialize` may panic or be slow, and readers take that lock.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl JobContext {
    /// Emits an event of the output: anything that serialises. Every reader gets it at once.
    ///
    /// The event is in the log when this returns. The future waits while the store is behind, and
    /// lets other tasks run now and then, so a tight loop is fine. If it's dropped, the event may or
    /// may not be in the log.
    ///
    /// # Errors
    /// `cancelled` once the job is to stop, so that a handler that passes errors on by `?` stops at
    /// its next event; `output-too-large` past `jobs.max_log`; `failed` if `value` doesn't
    /// serialise.
    pub fn emit<'a, T: Serialize + ?Sized>(
        &'a self,
        value: &T,
    ) -> impl Future<Output = Result<()>> + use<'a, T> {
        self.add(Field::Output, value)
    }

    /// Reports how far the work is: `done` of `total` (if that is known), counted in `unit`, a
    /// plural such as `bytes`.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub async fn progress(
        &self,
        done: u64,
        total: impl Into<Option<u64>>,
        unit: &str,
    ) -> Result<()> {
        self.add(Field::Progress, &Progress::new(done, total, unit)).await
    }

    /// Adds a line to the job's log. Works while the job is being cancelled, too.
    ///
    /// # Errors
    /// `output-too-large` past `jobs.max_log`; `cancelled` once the job has ended.
    pub async fn log(&self, level: LogLevel, message: impl Into<String>) -> Result<()> {
        let body = body(Field::Log, &LogLine { level, message: message.into() });
        let pushed = self.job.log.push(self.attempt(), &body);
        stint::make_way().await;
        match pushed {
            Err(Refused::Behind) => self.push_when_room(&body).await?,
            pushed => pushed.map_err(|refused| self.refused(refused))?,
        }
        self.stand().await;
        Ok(())
    }

    fn add<T: Serialize + ?Sized>(&self, field: Field, value: &T) -> Added<'_> {
        let mut body = BUFFER.take();
        body.clear();
        let written = write_body(&mut body, field, value);
        self.add_body(written, body)
    }

    /// The same for all types of values. `body` is a thread's buffer, and mostly becomes that again.
    fn add_body(&self, written: serde_json::Result<()>, body: Vec<u8>) -> Added<'_> {
        let is_due = stint::is_due();
        let pushed = match written {
            Ok(()) if self.is_cancelled() => Err(Refused::Closed),
            Ok(()) => self.job.log.push(self.attempt(), &body),
            Err(error) => return self.settle(Err(error.into()), is_due),
        };
        match pushed {
            Ok(()) => {
                if body.capacity() <= MAX_KEPT_BUFFER {
                    BUFFER.with(|buffer| buffer.set(body));
                }
                if is_due || self.may_stand() { self.settle(Ok(None), is_due) } else { Added(None) }
            }
            Err(Refused::Behind) => self.settle(Ok(Some(body)), is_due),
            Err(refused) => self.settle(Err(self.refused(refused)), is_due),
        }
    }

    /// What is left to do for an event: `pushed` may have a body that waits for room.
    #[cold]
    fn settle(&self, pushed: Result<Option<Vec<u8>>>, is_due: bool) -> Added<'_> {
        Added(Some(Box::pin(async move {
            // Before all else, so that a loop that ignores errors comes back to the runtime, too.
            if is_due {
                stint::step_back().await;
            }
            if let Some(body) = pushed? {
                tokio::select! {
                    pushed = self.push_when_room(&body) => pushed?,
                    () = self.attempt.cancel.cancelled() => return Err(stopping()),
                }
            }
            self.stand().await;
            Ok(())
        })))
    }

    async fn push_when_room(&self, body: &[u8]) -> Result<()> {
        loop {
            self.job.log.room().await;
            match self.job.log.push(self.attempt(), body) {
                // Another task of the handler was faster.
                Err(Refused::Behind) => {}
                pushed => return pushed.map_err(|refused| self.refused(refused)),
            }
        }
    }

    pub(super) fn refused(&self, refused: Refused) -> OperationError {
        match refused {
            Refused::Closed => stopping(),
            Refused::Behind => unreachable!("whoever is told so waits for room"),
            Refused::TooLarge => {
                self.job.stop(Stop::OutputTooLarge);
                self.job.output_too_large().into()
            }
        }
    }

    /// Whether a test has the job stand somewhere.
    #[cfg_attr(not(feature = "testing"), allow(clippy::unused_self, reason = "for tests"))]
    fn may_stand(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.job.log.hold.is_set();
        #[cfg(not(feature = "testing"))]
        false
    }

    /// Where a test has the job stand, it does; no test, no wait.
    #[cfg_attr(not(feature = "testing"), allow(clippy::unused_async, reason = "for tests"))]
    pub(super) async fn stand(&self) {
        #[cfg(feature = "testing")]
        if self.job.log.hold.is_set() {
            tokio::select! {
                () = self.job.log.hold.passed(self.job.log.last_event()) => {}
                () = self.attempt.cancel.cancelled() => {}
            }
        }
    }
}

/// An event is in the log, unless there's more to do: mostly there isn't. It's as small as it can be,
/// two words, so that it's handed on in registers: a larger one took as long as all else of an event.
struct Added<'a>(Option<BoxFuture<'a, Result<()>>>);

impl Future for Added<'_> {
    type Output = Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Ok(())),
            Some(rest) => rest.as_mut().poll(cx),
        }
    }
}
