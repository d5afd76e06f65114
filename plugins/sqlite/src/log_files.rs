//! The files of long logs: `logs/<two hex digits>/<job id>.log`, each a log from its first byte on.
//!
//! A file may be longer than its log: what stands behind the log's end is from a commit that
//! never was, and is cut off or written over. How long a log is, the database alone knows.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use skep::JobId;
use tracing::{error, warn};

use crate::disk;
use crate::error::Failure;

/// The directory of the files, in the data directory.
pub(crate) const DIRECTORY: &str = "logs";

/// How many files the writer keeps open, unless more are written to in one commit.
const MAX_OPEN: usize = 64;

/// Where a job's log is, below the directory of all.
pub(crate) fn path(root: &Path, job: JobId) -> PathBuf {
    root.join(shard(job)).join(format!("{job}.log"))
}

/// Two digits of the id's random part, so that no directory grows too large.
fn shard(job: JobId) -> String {
    format!("{:02x}", job.as_bytes()[15])
}

/// The directories that there may be below the directory of all.
pub(crate) fn shards() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|byte| format!("{byte:02x}"))
}

/// The jobs whose logs have files in a directory; nothing if it isn't there.
pub(crate) fn jobs_in(directory: &Path) -> io::Result<Vec<JobId>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut jobs = Vec::new();
    for entry in entries {
        // What has another name isn't ours.
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".log"));
        jobs.extend(id.and_then(|id| id.parse::<JobId>().ok()));
    }
    Ok(jobs)
}

/// The writer's side: what is written here becomes part of a log by the commit that follows.
pub(crate) struct LogFiles {
    root: PathBuf,
    open: HashMap<JobId, Open>,
    /// Those of `open` that were written to since the last commit.
    dirty: BTreeSet<JobId>,
    /// Those that nothing more is written to after the next commit.
    ended: Vec<JobId>,
    /// Directories with new entries.
    grown: BTreeSet<PathBuf>,
    /// Whether what `dirty` tells of may have been committed after all.
    is_in_doubt: bool,
    /// Counts the writes: which file was used last.
    clock: u64,
}

struct Open {
    file: File,
    /// How long it is if the next commit fails.
    known: u64,
    /// It wasn't there at the last commit.
    is_new: bool,
    /// It has all that was committed of its log.
    is_whole: bool,
    used: u64,
}

impl LogFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            open: HashMap::new(),
            dirty: BTreeSet::new(),
            ended: Vec::new(),
            grown: BTreeSet::new(),
            is_in_doubt: false,
            clock: 0,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes `bytes` at `start` of a job's log, which ended at `known` at the last commit; `None`
    /// if nothing of it is in a file yet. Returns whether the file has all that stands before.
    pub(crate) fn write(
        &mut self,
        job: JobId,
        known: Option<u64>,
        start: u64,
        bytes: &Bytes,
    ) -> Result<bool, Failure> {
        self.clock += 1;
        if !self.open.contains_key(&job) {
            self.close_all_but(MAX_OPEN - 1);
            let open = self.open(job, known).map_err(|error| self.failed(job, error))?;
            self.open.insert(job, open);
        }
        let Some(open) = self.open.get_mut(&job) else { return Ok(false) };
        open.used = self.clock;
        self.dirty.insert(job);
        let (written, is_whole) = (open.file.write_all_at(bytes, start), open.is_whole);
        written.map_err(|error| self.failed(job, error))?;
        Ok(is_whole)
    }

    fn open(&mut self, job: JobId, known: Option<u64>) -> io::Result<Open> {
        let directory = self.root.join(shard(job));
        if !directory.try_exists()? {
            fs::create_dir(&directory)?;
            self.grown.insert(self.root.clone());
        }
        let path = path(&self.root, job);
        let is_new = known.is_none() || !path.try_exists()?;
        if is_new {
            self.grown.insert(directory);
        }
        // Where nothing is known of it, a file of this name is from a commit that never was.
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(known.is_none()).open(&path)?;
        let (known, found) = (known.unwrap_or_default(), file.metadata()?.len());
        let is_whole = found >= known;
        if !is_whole {
            // Its readers are told what is lost; the job goes on, and ends.
            error!(
                "the log file of job {job}, {}, has {found} of its {known} bytes: something has \
                 removed the others, and what was in them can't be read any more; `skep store \
                 check` names the events",
                path.display()
            );
        }
        // What is missing, or what a crash left behind the end.
        if found != known {
            file.set_len(known)?;
        }
        Ok(Open { file, known: found.min(known), is_new, is_whole, used: self.clock })
    }

    /// Closes files until there are `count`, or until those that are left wait for the commit: the
    /// first is the one that wasn't used for longest.
    fn close_all_but(&mut self, count: usize) {
        while self.open.len() > count {
            let clean = self.open.iter().filter(|(job, _)| !self.dirty.contains(job));
            let oldest = clean.min_by_key(|(_, open)| open.used).map(|(job, _)| *job);
            let Some(oldest) = oldest else { return };
            self.open.remove(&oldest);
        }
    }

    fn failed(&self, job: JobId, source: io::Error) -> Failure {
        Failure::Log { path: path(&self.root, job), source }
    }

    /// Has all that was written reach the disk, and returns in how many files that is. The commit
    /// comes after it.
    pub(crate) fn sync(&mut self) -> Result<usize, Failure> {
        for job in &self.dirty {
            if let Some(open) = self.open.get(job) {
                open.file.sync_data().map_err(|error| self.failed(*job, error))?;
            }
        }
        for directory in &self.grown {
            let failed = |source| Failure::Log { path: directory.clone(), source };
            disk::sync(directory).map_err(failed)?;
        }
        Ok(self.dirty.len())
    }

    /// What was written is part of the logs.
    pub(crate) fn committed(&mut self) {
        self.grown.clear();
        for job in std::mem::take(&mut self.dirty) {
            let Some(open) = self.open.get_mut(&job) else { continue };
            match open.file.metadata() {
                Ok(metadata) => {
                    open.known = metadata.len();
                    open.is_new = false;
                    open.is_whole = true;
                }
                // It's opened anew, from what the database knows.
                Err(_) => drop(self.open.remove(&job)),
            }
        }
        for job in self.ended.drain(..) {
            self.open.remove(&job);
        }
        self.close_all_but(MAX_OPEN);
    }

    /// The commit failed, and may be found all the same after a crash: what was written stays until
    /// a later commit has [settled](Self::settle) it.
    pub(crate) fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// What was in doubt wasn't committed.
    pub(crate) fn settle(&mut self) {
        self.is_in_doubt = false;
        self.rolled_back();
    }

    /// What was written never was: gives its space back.
    pub(crate) fn rolled_back(&mut self) {
        if self.is_in_doubt {
            return;
        }
        for job in std::mem::take(&mut self.dirty) {
            let Some(open) = self.open.remove(&job) else { continue };
            let path = path(&self.root, job);
            let undone =
                if open.is_new { fs::remove_file(&path) } else { open.file.set_len(open.known) };
            // It stays behind the log's end, where it's written over.
            if let Err(error) = undone {
                warn!("can't take back what was written to {}: {error}", path.display());
            }
        }
        self.ended.clear();
        // The directories stay, and so does what is to be synced of them.
    }

    /// No more is written to this log after the next commit.
    pub(crate) fn end(&mut self, job: JobId) {
        self.ended.push(job);
    }

    /// Removes the file of a log that is no longer kept.
    pub(crate) fn remove(&mut self, job: JobId) {
        self.open.remove(&job);
        let path = path(&self.root, job);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start finds it.
            warn!("can't remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_files_are_open_than_may_be_unless_the_commit_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().to_owned());
        let mut ids = (0..u128::MAX).map(|number| JobId::from_bytes(number.to_be_bytes()));
        let mut write = |logs: &mut LogFiles, count| {
            for id in ids.by_ref().take(count) {
                logs.write(id, None, 0, &Bytes::from_static(b"id: 1\n\n")).unwrap();
            }
        };
        write(&mut logs, MAX_OPEN);
        logs.committed();
        // Each takes the place of one that nothing waits for.
        write(&mut logs, MAX_OPEN);
        assert_eq!((logs.open.len(), logs.dirty.len()), (MAX_OPEN, MAX_OPEN));
        write(&mut logs, 5);
        assert_eq!(logs.open.len(), MAX_OPEN + 5);
        logs.sync().unwrap();
        logs.committed();
        assert_eq!(logs.open.len(), MAX_OPEN);
    }
}
