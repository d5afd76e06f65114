//! The events of a stream, one by one, without a copy of each (WHATWG HTML, 9.2.6, as far as Skep's
//! servers send them).

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::{memchr, memmem};

use crate::failure::Failure;

/// The longest event, bytes. A job's log, which has to take it, is limited by configuration.
const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Reads the events of one answer.
pub struct Frames {
    body: Incoming,
    buffer: BytesMut,
    /// What of the buffer has been given out.
    given: usize,
    /// Up to where behind that no frame's end has been found.
    searched: usize,
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
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new(), given: 0, searched: 0 }
    }

    /// The next event of those that have come. Comments are left out.
    pub fn ready(&mut self) -> Option<Frame<'_>> {
        loop {
            let (start, end) = self.cut()?;
            if self.buffer[start] != b':' {
                return Some(Frame::read(&self.buffer[start..end]));
            }
        }
    }

    /// The next frame's place in the buffer, if all of it has come.
    fn cut(&mut self) -> Option<(usize, usize)> {
        let from = self.given + self.searched;
        let Some(at) = memmem::find(&self.buffer[from..], b"\n\n") else {
            // The last byte may be the first half of an end.
            self.searched = (self.buffer.len() - self.given).saturating_sub(1);
            return None;
        };
        let (start, end) = (self.given, from + at + 1);
        (self.given, self.searched) = (end + 1, 0);
        Some((start, end))
    }

    /// Waits until more has come; false when the answer has ended. Cancel-safe.
    ///
    /// # Errors
    /// [`Failure::Broken`] if the answer breaks off, [`Failure::Foreign`] for an event without end.
    pub async fn more(&mut self) -> Result<bool, Failure> {
        self.buffer.advance(self.given);
        self.given = 0;
        if self.buffer.len() > MAX_FRAME {
            return Err(Failure::Foreign(format!("an event has more than {MAX_FRAME} bytes")));
        }
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(false) };
            let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
            if let Ok(bytes) = frame.into_data() {
                self.buffer.extend_from_slice(&bytes);
                return Ok(true);
            }
        }
    }
}

impl<'a> Frame<'a> {
    fn read(text: &'a [u8]) -> Self {
        let mut frame = Self { id: 0, event: b"", data: b"" };
        let mut rest = text;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if let Some(data) = line.strip_prefix(b"data: ") {
                frame.data = data;
            } else if let Some(id) = line.strip_prefix(b"id: ") {
                frame.id = number(id);
            } else if let Some(event) = line.strip_prefix(b"event: ") {
                frame.event = event;
            }
        }
        frame
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

    #[test]
    fn a_frame_has_its_fields_in_any_order() {
        let read = Frame::read(b"id: 12\nevent: log\ndata: {\"a\": \"b: c\"}\n");
        assert_eq!(read, Frame { id: 12, event: b"log", data: b"{\"a\": \"b: c\"}" });
        assert_eq!(Frame::read(b"data: 1\n"), Frame { id: 0, event: b"", data: b"1" });
        assert_eq!(Frame::read(b"id: 1x\ndata: 1\n").id, 0);
        assert_eq!(Frame::read(b"id: 99999999999999999999\n").id, 0);
    }
}
