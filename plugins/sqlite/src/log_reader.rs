//! Reading a log, from the database or from its file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, Row};
use skep::JobId;
use skep::store::{Position, Segment};

use crate::error::Failure;
use crate::log_files;

/// How many bytes of a log are read at once, unless one segment has more: enough that a reader needs
/// few calls, little enough that a thousand readers fit into memory.
const READ: usize = 128 * 1024;

/// What a reader gets of a log.
pub(crate) enum Found {
    Segment(Segment),
    /// The log ends here.
    End,
    /// The file that holds it isn't there: the job may just have been forgotten.
    Missing(io::Error),
}

/// The part of a log that holds the first event after `position`: neighbouring segments whose ids
/// follow each other, as one.
///
/// What isn't as it was written is never shown: a reader is told so when it comes there, and may go
/// on behind it.
pub(crate) fn read(
    db: &Connection,
    root: &Path,
    id: JobId,
    position: Position,
) -> Result<Found, Failure> {
    let mut found = db.prepare_cached(
        "SELECT first, last, start, size, checksum, bytes FROM segments \
         WHERE job = ?1 AND last > ?2 ORDER BY last",
    )?;
    // No event has an id that SQLite's numbers don't reach.
    let after = i64::try_from(position.event).unwrap_or(i64::MAX);
    let mut rows = found.query((id.as_bytes(), after))?;
    let Some(row) = rows.next()? else { return Ok(Found::End) };
    let mut file = LogFile { path: log_files::path(root, id), file: None };
    let first = Part::of(row)?;
    let mut bytes = match first.bytes(row, &mut file) {
        Ok(bytes) => bytes,
        Err(NotRead::Missing(error)) => return Ok(Found::Missing(error)),
        Err(NotRead::Damaged) => return Err(first.damaged(id)),
        Err(NotRead::Failed(failure)) => return Err(failure),
    };
    let mut last = first.last;
    while let Some(row) = rows.next()? {
        let next = Part::of(row)?;
        if next.first != last + 1 || bytes.len() + next.size > READ {
            break;
        }
        // What keeps it from being read is told to who reads on from here.
        let Ok(more) = next.bytes(row, &mut file) else { break };
        bytes.extend_from_slice(&more);
        last = next.last;
    }
    Ok(Found::Segment(Segment::new(first.first, last, first.start, Bytes::from(bytes))))
}

/// A row of the segments.
struct Part {
    first: u64,
    last: u64,
    start: u64,
    size: usize,
    checksum: u32,
}

/// Why there are no bytes.
enum NotRead {
    /// The log's file isn't there.
    Missing(io::Error),
    /// They aren't those that were written.
    Damaged,
    Failed(Failure),
}

impl Part {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            first: row.get(0)?,
            last: row.get(1)?,
            start: row.get(2)?,
            size: row.get(3)?,
            checksum: row.get(4)?,
        })
    }

    /// Its bytes, as they were written.
    fn bytes(&self, row: &Row<'_>, file: &mut LogFile) -> Result<Vec<u8>, NotRead> {
        let stored = row.get(5).map_err(|error| NotRead::Failed(error.into()))?;
        let bytes = match stored {
            Some(bytes) => bytes,
            None => file.read(self.start, self.size)?,
        };
        let is_whole = bytes.len() == self.size && crc32fast::hash(&bytes) == self.checksum;
        is_whole.then_some(bytes).ok_or(NotRead::Damaged)
    }

    fn damaged(&self, id: JobId) -> Failure {
        let Self { first, last, .. } = self;
        Failure::Damaged(format!("events {first} to {last} of job {id} aren't what was written"))
    }
}

/// A log's file, opened when something of it is needed.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    fn read(&mut self, start: u64, size: usize) -> Result<Vec<u8>, NotRead> {
        let failed = |path: &Path, error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => NotRead::Missing(error),
            io::ErrorKind::UnexpectedEof => NotRead::Damaged,
            _ => NotRead::Failed(Failure::Log { path: path.to_owned(), source: error }),
        };
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|error| failed(&self.path, error))?,
        };
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, start).map_err(|error| failed(&self.path, error))?;
        self.file = Some(file);
        Ok(bytes)
    }
}
