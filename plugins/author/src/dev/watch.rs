//! Waiting for a change of files that a build may depend on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// How long there must be no further change: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(30);

/// How long further changes are waited for at most.
const MOST: Duration = Duration::from_millis(500);

/// A watch over crates' directories.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
}

/// A directory that can't be watched.
#[derive(Debug, thiserror::Error)]
#[error("can't watch {}: {reason}", .path.display())]
pub(super) struct WatchError {
    path: PathBuf,
    reason: notify::Error,
}

impl Watch {
    pub(super) fn new() -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Who can't say what has changed may have missed something.
            if event.as_ref().map_or(true, is_change) {
                tell.notify_one();
            }
        })?;
        Ok(Self { watcher, changed })
    }

    /// Watches crates from now on, by their directories; those that are new in one since it was
    /// followed last, too.
    ///
    /// A crate's build directory is left out: it has more directories than a system watches gladly.
    pub(super) fn follow(&mut self, crates: &[impl AsRef<Path>]) -> Result<(), WatchError> {
        for directory in crates.iter().map(AsRef::as_ref) {
            let is_within = |other: &Path| directory != other && directory.starts_with(other);
            if crates.iter().any(|other| is_within(other.as_ref())) {
                continue;
            }
            self.watch(directory, RecursiveMode::NonRecursive)?;
            // One that is gone again has nothing to watch.
            for entry in directory.read_dir().into_iter().flatten().flatten() {
                if is_source(&entry.file_name()) && entry.path().is_dir() {
                    self.watch(&entry.path(), RecursiveMode::Recursive)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for a change since this was last awaited to its end, and for those that belong to it.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
        let last = Instant::now() + MOST;
        let further = async { while timeout(QUIET, self.changed.notified()).await.is_ok() {} };
        let _ = timeout_at(last, further).await;
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) -> Result<(), WatchError> {
        let watched = self.watcher.watch(path, mode);
        watched.map_err(|reason| WatchError { path: path.to_owned(), reason })
    }
}

/// Whether a build might come out otherwise now. That a file is read is an event too.
fn is_change(event: &Event) -> bool {
    let mut names = event.paths.iter().map(|path| path.file_name().unwrap_or_default());
    !event.kind.is_access() && (event.paths.is_empty() || names.any(is_source))
}

/// Whether a file or directory of this name belongs to a crate: not what it was built into, what is
/// hidden, or what an editor keeps beside.
fn is_source(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name != b"target" && !name.starts_with(b".") && !name.ends_with(b"~")
}
