//! Logs: in the database while they're small, in a file of their own once they aren't.

use bytes::Bytes;
use crc32fast::Hasher;
use rusqlite::{OptionalExtension, params};
use skep::JobId;
use skep::store::Segment;

use crate::change::jobs::has_ended;
use crate::error::Failure;
use crate::writer::{Change, Transaction};

/// The largest log that is kept in the database, bytes: one segment of the engine's. Larger ones
/// would be written twice there, to the database's log and to the database.
const SMALL: u64 = 64 * 1024;

/// Up to this size, bytes, segments in a file that follow each other are told as one.
const JOINED: u64 = 64 * 1024;

/// [`Store::append`](skep::store::Store::append).
pub(crate) struct Append {
    pub(crate) id: JobId,
    pub(crate) segments: Vec<Segment>,
}

impl Change for Append {
    type Output = ();

    fn apply(&self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        if !has_ended(to, self.id)? {
            append(to, self.id, &self.segments)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of(&self.segments)
    }
}

pub(super) fn size_of(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.bytes.len()).sum()
}

/// What is stored at the end of a log.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    first: u64,
    last: u64,
    start: u64,
    size: u64,
    checksum: u32,
    is_in_file: bool,
}

impl Tail {
    fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// Appends those of `segments` that a log hasn't got yet: a call that seemed to fail is made again.
pub(super) fn append(
    to: &mut Transaction<'_>,
    id: JobId,
    segments: &[Segment],
) -> Result<(), Failure> {
    let tail = tail(to, id)?;
    let (last, end) = tail.map_or((0, 0), |tail| (tail.last, tail.end()));
    let stored = segments.iter().take_while(|segment| segment.last <= last).count();
    let new = &segments[stored..];
    let mut next = (last, end);
    for segment in new {
        if segment.first <= next.0 || segment.last < segment.first || segment.offset != next.1 {
            return Err(Failure::refused(format!(
                "events {} to {} of job {id}, at {}, don't follow event {}, at {}",
                segment.first, segment.last, segment.offset, next.0, next.1
            )));
        }
        next = (segment.last, segment.end().offset.unwrap_or_default());
    }
    if new.is_empty() {
        return Ok(());
    }
    let is_in_file = tail.is_some_and(|tail| tail.is_in_file);
    let tail = if is_in_file {
        append_to_file(to, id, tail, Some(end), new)?
    } else if next.1 > SMALL {
        let before = take(to, id)?;
        let tail = append_to_file(to, id, None, None, &before)?;
        append_to_file(to, id, tail, None, new)?
    } else {
        let mut tail = tail;
        for segment in new {
            tail = Some(insert(to, id, segment, Some(&segment.bytes))?);
        }
        tail
    };
    if let Some(job) = to.live.get_mut(&id) {
        job.tail = tail;
    }
    to.totals.bytes += next.1 - end;
    Ok(())
}

fn tail(to: &Transaction<'_>, id: JobId) -> Result<Option<Tail>, Failure> {
    if let Some(job) = to.live.get(&id) {
        return Ok(job.tail);
    }
    let mut found = to.statement(
        "SELECT first, last, start, size, checksum, bytes IS NULL FROM segments \
         WHERE job = ?1 ORDER BY last DESC LIMIT 1",
    )?;
    let tail = found.query_row([id.as_bytes()], |row| {
        Ok(Tail {
            first: row.get(0)?,
            last: row.get(1)?,
            start: row.get(2)?,
            size: row.get(3)?,
            checksum: row.get(4)?,
            is_in_file: row.get(5)?,
        })
    });
    Ok(tail.optional()?)
}

/// Takes a log's segments out of the database.
fn take(to: &Transaction<'_>, id: JobId) -> Result<Vec<Segment>, Failure> {
    let mut found = to
        .statement("SELECT first, last, start, bytes FROM segments WHERE job = ?1 ORDER BY last")?;
    let segments = found.query_map([id.as_bytes()], |row| {
        let bytes = Bytes::from(row.get::<_, Vec<u8>>(3)?);
        Ok(Segment::new(row.get(0)?, row.get(1)?, row.get(2)?, bytes))
    })?;
    let segments = segments.collect::<Result<_, _>>()?;
    to.statement("DELETE FROM segments WHERE job = ?1")?.execute([id.as_bytes()])?;
    Ok(segments)
}

/// Writes segments to the log's file, behind `tail`, and tells them in the database. `known` is what
/// of the file is committed, if there's a file.
fn append_to_file(
    to: &mut Transaction<'_>,
    id: JobId,
    mut tail: Option<Tail>,
    known: Option<u64>,
    segments: &[Segment],
) -> Result<Option<Tail>, Failure> {
    for segment in segments {
        let is_whole = to.logs.write(id, known, segment.offset, &segment.bytes)?;
        let size = segment.bytes.len() as u64;
        tail = match tail {
            // Nothing is joined to what can't be read any more.
            Some(tail)
                if is_whole && segment.first == tail.last + 1 && tail.size + size <= JOINED =>
            {
                Some(extend(to, id, tail, segment)?)
            }
            _ => Some(insert(to, id, segment, None)?),
        };
    }
    Ok(tail)
}

/// One row that grows, in place of a row for each of many small segments.
fn extend(to: &Transaction<'_>, id: JobId, tail: Tail, segment: &Segment) -> Result<Tail, Failure> {
    let mut checksum = Hasher::new_with_initial(tail.checksum);
    checksum.update(&segment.bytes);
    let joined = Tail {
        last: segment.last,
        size: tail.size + segment.bytes.len() as u64,
        checksum: checksum.finalize(),
        ..tail
    };
    to.statement(
        "UPDATE segments SET last = ?3, size = ?4, checksum = ?5 WHERE job = ?1 AND last = ?2",
    )?
    .execute((id.as_bytes(), tail.last, joined.last, joined.size, joined.checksum))?;
    Ok(joined)
}

fn insert(
    to: &Transaction<'_>,
    id: JobId,
    segment: &Segment,
    bytes: Option<&Bytes>,
) -> Result<Tail, Failure> {
    let tail = Tail {
        first: segment.first,
        last: segment.last,
        start: segment.offset,
        size: segment.bytes.len() as u64,
        checksum: crc32fast::hash(&segment.bytes),
        is_in_file: bytes.is_none(),
    };
    to.statement(
        "INSERT INTO segments (job, last, first, start, size, checksum, bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        id.as_bytes(),
        tail.last,
        tail.first,
        tail.start,
        tail.size,
        tail.checksum,
        bytes.map(|bytes| &bytes[..]),
    ])?;
    Ok(tail)
}
