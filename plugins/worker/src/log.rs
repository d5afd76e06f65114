//! What a worker said last: a log in memory that forgets its oldest lines.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use skep::job::LogLevel;
use tokio::sync::watch;

/// How many lines are kept.
pub(crate) const KEPT_LINES: usize = 1000;

/// The longest line, bytes; a longer one is cut there.
pub(crate) const MAX_LINE: usize = 4096;

/// A line of a worker's log.
#[skep::data]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogEntry {
    /// When it came.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: Timestamp,
    /// How important it is: `debug`, `info`, `warn`, `error`, or `stderr` for what the process wrote
    /// to its standard error.
    pub(crate) level: String,
    /// What it says.
    pub(crate) message: String,
}

/// The level of what a process writes to its standard error.
pub(crate) const STDERR: &str = "stderr";

/// A worker's log.
pub(crate) struct Log {
    lines: Mutex<VecDeque<LogEntry>>,
    /// How far it is; whoever follows the log waits for a change of it.
    end: watch::Sender<End>,
}

/// How far a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// How many lines there have been.
    lines: u64,
    /// There will be no more.
    closed: bool,
}

/// A place between two lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Log {
    pub(crate) fn new() -> Self {
        Self { lines: Mutex::default(), end: watch::Sender::default() }
    }

    /// Adds a line.
    pub(crate) fn push(&self, level: LogLevel, message: impl Into<String>) {
        self.add(level.as_str(), message.into());
    }

    /// Adds a line of the process's standard error.
    pub(crate) fn push_stderr(&self, message: impl Into<String>) {
        self.add(STDERR, message.into());
    }

    fn add(&self, level: &str, mut message: String) {
        message.truncate(message.floor_char_boundary(MAX_LINE));
        let entry = LogEntry { at: Timestamp::now(), level: level.to_owned(), message };
        let mut lines = self.lock();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(entry);
        // Under the lock, so that the count and the lines agree.
        self.end.send_modify(|end| end.lines += 1);
    }

    /// There will be no more lines.
    pub(crate) fn close(&self) {
        self.end.send_modify(|end| end.closed = true);
    }

    /// The place before the last `count` lines.
    pub(crate) fn before_last(&self, count: usize) -> Position {
        let lines = self.lock();
        Position(self.end.borrow().lines - lines.len().min(count) as u64)
    }

    /// The lines from `position` on that are still kept, and the place behind them.
    pub(crate) fn read(&self, position: Position) -> (Vec<LogEntry>, Position) {
        let lines = self.lock();
        let end = self.end.borrow().lines;
        let first = end - lines.len() as u64;
        let skip = position.0.saturating_sub(first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        (lines.iter().skip(skip).cloned().collect(), Position(end))
    }

    /// Waits until there are lines behind `position`. `false` if there never will be. Cancel-safe.
    pub(crate) async fn grows(&self, position: Position) -> bool {
        let mut end = self.end.subscribe();
        let more = |end: &End| end.lines > position.0;
        let news = end.wait_for(|end| more(end) || end.closed).await;
        news.is_ok_and(|end| more(&end))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LogEntry>> {
        // Only queue operations run under the lock.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log, position: Position) -> Vec<String> {
        log.read(position).0.into_iter().map(|entry| entry.message).collect()
    }

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let log = Log::new();
        let start = log.before_last(0);
        for line in 0..KEPT_LINES + 5 {
            log.push(LogLevel::Info, line.to_string());
        }
        let kept = texts(&log, start);
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT_LINES, "5"));
        assert_eq!(texts(&log, log.before_last(2)), ["1003", "1004"]);
        assert_eq!(texts(&log, log.before_last(usize::MAX)).len(), KEPT_LINES);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = Log::new();
        log.push_stderr("é".repeat(MAX_LINE));
        let (lines, _) = log.read(log.before_last(1));
        assert_eq!((lines[0].level.as_str(), lines[0].message.len()), (STDERR, MAX_LINE));
    }

    #[tokio::test]
    async fn a_follower_gets_each_line_once_and_learns_of_the_end() {
        let log = Log::new();
        log.push(LogLevel::Info, "first");
        let (lines, position) = log.read(log.before_last(10));
        assert_eq!(lines.len(), 1);
        let (grown, ()) = tokio::join!(log.grows(position), async {
            tokio::task::yield_now().await;
            log.push(LogLevel::Info, "second");
        });
        assert!(grown);
        let (lines, position) = log.read(position);
        assert_eq!(lines[0].message, "second");
        log.close();
        assert!(!log.grows(position).await);
    }
}
