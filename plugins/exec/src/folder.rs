//! The folder of executables, and what has changed in it.
//!
//! It's looked through twice a second. That is a `stat` a file, works on every file system (a
//! notification does not, on those over a network or in a container), and needs no account of how
//! editors replace a file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::sleep;
use tracing::warn;

use crate::ask::ask;
use crate::lifeline::Lifeline;
use crate::operation::ExecOperation;

/// How long the folder is left alone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many files are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// What editors and package managers leave beside a file.
const LEFTOVERS: [&str; 6] = ["~", ".bak", ".orig", ".rej", ".swp", ".tmp"];

/// A folder of executables that are operations.
pub(crate) struct Folder {
    /// Absolute.
    path: PathBuf,
    lifeline: Arc<Lifeline>,
    files: BTreeMap<OsString, File>,
    /// What was seen last. A file is asked once it has stayed as it is from one look to the next:
    /// before that somebody may be writing it.
    seen: BTreeMap<OsString, Stamp>,
}

/// A file that has been asked.
struct File {
    stamp: Stamp,
    /// `None` if it's none, which has been said.
    operation: Option<Arc<ExecOperation>>,
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Its content, its name or its rights.
    changed: (i64, i64),
}

/// An operation of the folder.
#[derive(Clone)]
pub(crate) struct Found {
    /// Its file's name.
    pub(crate) file: String,
    pub(crate) operation: Arc<ExecOperation>,
}

impl Folder {
    /// Opens the folder at `path`, an absolute one, and asks its files.
    pub(crate) async fn open(path: PathBuf, lifeline: Arc<Lifeline>) -> io::Result<Self> {
        let seen = list(&path).await?;
        let mut folder = Self { path, lifeline, files: BTreeMap::new(), seen };
        folder.look().await?;
        Ok(folder)
    }

    /// Waits until something has changed in the folder.
    ///
    /// As long as it can't be read all stays as it was.
    pub(crate) async fn changed(&mut self) {
        let mut is_lost = false;
        loop {
            sleep(LOOK_EVERY).await;
            match self.look().await {
                Ok(true) => return,
                Ok(false) => is_lost = false,
                Err(error) if !is_lost => {
                    warn!("{} can't be read, what it had is kept: {error}", self.path.display());
                    is_lost = true;
                }
                Err(_) => {}
            }
        }
    }

    /// The operations that it has, by their files.
    pub(crate) fn operations(&self) -> Vec<Found> {
        let found = |(name, file): (&OsString, &File)| {
            let file_name = name.to_string_lossy().into_owned();
            Some(Found { file: file_name, operation: file.operation.clone()? })
        };
        self.files.iter().filter_map(found).collect()
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks through the folder, and asks what is new. Returns whether anything has changed.
    async fn look(&mut self) -> io::Result<bool> {
        let now = list(&self.path).await?;
        let before = self.files.len();
        self.files.retain(|name, _| now.contains_key(name));
        let is_less = self.files.len() < before;
        let is_news = |(name, stamp): &(&OsString, &Stamp)| {
            let is_asked = self.files.get(*name).is_some_and(|file| file.stamp == **stamp);
            !is_asked && self.seen.get(*name) == Some(*stamp)
        };
        let news = now.iter().filter(is_news).map(|(name, stamp)| (name.clone(), stamp.clone()));
        let news: Vec<_> = news.collect();
        self.seen = now;
        let (path, lifeline) = (&self.path, &self.lifeline);
        let asked = news.into_iter().map(|(name, stamp)| async move {
            let file = path.join(&name);
            let operation = match ask(&file, path, lifeline).await {
                Ok(operation) => Some(Arc::new(operation)),
                Err(error) => {
                    warn!("{} is no operation: {error}", file.display());
                    None
                }
            };
            (name, File { stamp, operation })
        });
        let asked: Vec<_> = iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let is_changed = is_less || !asked.is_empty();
        self.files.extend(asked);
        Ok(is_changed)
    }
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The files that may be operations. Not on the runtime's threads: a file system may keep one waiting.
async fn list(path: &Path) -> io::Result<BTreeMap<OsString, Stamp>> {
    let path = path.to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // Links are followed; one that leads nowhere is no file.
            let Ok(file) = entry.path().metadata() else { continue };
            if file.is_file() && !is_leftover(&entry.file_name()) {
                files.insert(entry.file_name(), Stamp::of(&file));
            }
        }
        Ok(files)
    });
    listed.await.map_err(io::Error::other)?
}

/// Whether a file is hidden, or an editor's.
fn is_leftover(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(['.', '#']) || LEFTOVERS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_backups_are_left_alone() {
        for name in [".hidden", "#count.py#", "count.py~", "count.py.bak", "..data"] {
            assert!(is_leftover(OsStr::new(name)), "{name}");
        }
        for name in ["count.py", "count", "a.b.sh"] {
            assert!(!is_leftover(OsStr::new(name)), "{name}");
        }
    }
}
