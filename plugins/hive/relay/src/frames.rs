//! The events of a stream, one by one, without a copy of each (WHATWG HTML, 9.2.6, as far as Skep's
//! servers send them).

use std::mem::take;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use memchr::memchr;

use crate::connection::Body;
use crate::failure::Failure;

/// The longest event, bytes. A job's log, which has to take it, is limited by configuration.
const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Reads the events of one answer.
pub struct Frames {
    body: Body,
    scanner: Scanner,
}

/// One event. What wasn't sent is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number; 0 if it has none.
    pub id: u64,
    /// What kind of event it is; empty for output.
    pub event: &'a [u8],
    /// What it says: a line of JSON.
    pub data: &'a [u8],
}

impl Frames {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, scanner: Scanner::default() }
    }

    /// The next event of those that have come. Comments are left out.
    pub fn ready(&mut self) -> Option<Frame<'_>> {
        self.scanner.next()
    }

    /// Waits until more has come; false when the answer has ended. Cancel-safe.
    ///
    /// # Errors
    /// [`Failure::Broken`] if the answer breaks off, [`Failure::Foreign`] for an event without end.
    pub async fn more(&mut self) -> Result<bool, Failure> {
        if self.scanner.pending() > MAX_FRAME {
            return Err(Failure::Foreign(format!("an event has more than {MAX_FRAME} bytes")));
        }
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(false) };
            let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
            if let Ok(bytes) = frame.into_data() {
                self.scanner.push(&bytes);
                return Ok(true);
            }
        }
    }
}

/// Finds events in bytes that come in pieces; no byte is looked at twice.
#[derive(Default)]
struct Scanner {
    buffer: BytesMut,
    /// Where the line begins that is looked at.
    line: usize,
    /// Up to where no end of it has been found.
    searched: usize,
    /// What of the event has been read, by places in the buffer.
    id: u64,
    event: Range<usize>,
    data: Range<usize>,
}

impl Scanner {
    fn push(&mut self, bytes: &[u8]) {
        // What is behind us, but not what has been read of an event.
        let start = [self.line, self.event.start, self.data.start];
        let is_read = [true, !self.event.is_empty(), !self.data.is_empty()];
        let kept = start.into_iter().zip(is_read).filter(|(_, is_read)| *is_read);
        let behind = kept.map(|(start, _)| start).min().unwrap_or_default();
        self.buffer.advance(behind);
        self.line -= behind;
        self.searched -= behind;
        for range in [&mut self.event, &mut self.data] {
            *range = range.start.saturating_sub(behind)..range.end.saturating_sub(behind);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the end of their event.
    fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn next(&mut self) -> Option<Frame<'_>> {
        loop {
            let Some(length) = memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return None;
            };
            let (start, end) = (self.line, self.searched + length);
            (self.line, self.searched) = (end + 1, end + 1);
            let line = &self.buffer[start..end];
            if line.starts_with(b"data: ") {
                self.data = start + 6..end;
            } else if let Some(id) = line.strip_prefix(b"id: ") {
                self.id = number(id);
            } else if line.starts_with(b"event: ") {
                self.event = start + 7..end;
            } else if line.is_empty() {
                let (id, event) = (take(&mut self.id), take(&mut self.event));
                let data = take(&mut self.data);
                if !data.is_empty() {
                    return Some(Frame {
                        id,
                        event: &self.buffer[event],
                        data: &self.buffer[data],
                    });
                }
            }
        }
    }
}

/// A number in decimal digits; 0 if it isn't one.
fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of `pieces`, as texts.
    fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<(u64, String, String)> {
        let (mut scanner, mut events) = (Scanner::default(), Vec::new());
        for piece in pieces {
            scanner.push(piece);
            while let Some(Frame { id, event, data }) = scanner.next() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                events.push((id, text(event), text(data)));
            }
        }
        events
    }

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = "id: 1\ndata: \"é: \"\n\n: keep-alive\n\nid: 2\nevent: log\ndata: {\"a\": 1}\n\n\
                    data: 3\nevent: state\n\nid: 4x\ndata: 4\n\nid: 99999999999999999999\ndata: 5\n\n\
                    id: 6\ndata: cut";
        let event = |id, event: &str, data: &str| (id, event.to_owned(), data.to_owned());
        let expected = [
            event(1, "", "\"é: \""),
            event(2, "log", "{\"a\": 1}"),
            event(0, "state", "3"),
            event(0, "", "4"),
            event(0, "", "5"),
        ];
        for size in 1..=text.len() {
            assert_eq!(scan(text.as_bytes().chunks(size)), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_has_been_told_is_not_kept() {
        let mut scanner = Scanner::default();
        for _ in 0..1_000 {
            scanner.push(b"id: 1\ndata: \"0123456789\"\n\nid: 2\nda");
            assert!(scanner.next().is_some() && scanner.next().is_none());
            scanner.push(b"ta: 2\n\n");
            assert_eq!(scanner.next().unwrap().data, b"2");
            assert!(scanner.pending() < 100);
        }
    }
}
