//! Ctrl-C where no job is followed: it ends the program.
//!
//! Once a program has listened to Ctrl-C, it doesn't end by it any more of its own accord: all that it waits for
//! from then on is waited for by [`unless_interrupted`].

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Error;

/// The exit code of a program that Ctrl-C ended, as shells have it.
pub(super) const INTERRUPTED: u8 = 130;

/// Ctrl-C has ended the program: there's nothing to tell.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// Waits for `work`, which Ctrl-C drops: [`Interrupted`].
pub(super) async fn unless_interrupted<T, E: Into<Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    tokio::select! {
        // It isn't lost to work that has just ended.
        biased;
        _ = interrupts.recv() => Err(Interrupted.into()),
        done = work => done.map_err(Into::into),
    }
}
