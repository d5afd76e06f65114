//! Reading a log, from the database or from its file.

use std::io;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use skep::JobId;
use skep::store::{Position, Segment};

use crate::error::Failure;
use crate::log_files;

/// How many bytes of a log are read at once, unless one segment has more: enough that a reader needs
/// few calls, little enough that a thousand readers fit into memory.
const READ: u64 = 128 * 1024;

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
pub(crate) fn read(
    db: &Connection,
    root: &Path,
    id: JobId,
    position: Position,
) -> Result<Found, Failure> {
    let mut found = db.prepare_cached(
        "SELECT first, last, start, size, bytes FROM segments \
         WHERE job = ?1 AND last > ?2 ORDER BY last",
    )?;
    // No event has an id that SQLite's numbers don't reach.
    let after = i64::try_from(position.event).unwrap_or(i64::MAX);
    let mut rows = found.query((id.as_bytes(), after))?;
    let Some(row) = rows.next()? else { return Ok(Found::End) };
    let (first, mut last, start): (u64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let mut size: u64 = row.get(3)?;
    let mut bytes: Option<Vec<u8>> = row.get(4)?;
    while let Some(row) = rows.next()? {
        let (next, more): (u64, u64) = (row.get(0)?, row.get(3)?);
        if next != last + 1 || size + more > READ {
            break;
        }
        last = row.get(1)?;
        size += more;
        if let Some(bytes) = &mut bytes {
            let more = row.get_ref(4)?.as_blob();
            bytes.extend_from_slice(more.map_err(|_| damaged(id, start))?);
        }
    }
    let length = usize::try_from(size).map_err(|_| damaged(id, start))?;
    let bytes = match bytes {
        Some(bytes) if bytes.len() == length => bytes,
        Some(_) => return Err(damaged(id, start)),
        None => match log_files::read(root, id, start, length) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found::Missing(error));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failure::Damaged(format!("the log file of job {id} is too short")));
            }
            Err(source) => return Err(Failure::Log { path: log_files::path(root, id), source }),
        },
    };
    Ok(Found::Segment(Segment::new(first, last, start, Bytes::from(bytes))))
}

fn damaged(id: JobId, start: u64) -> Failure {
    Failure::Damaged(format!("the log of job {id}, at {start}"))
}
