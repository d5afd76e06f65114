//! Events: how one is written into a job's log, and read back from it.
//!
//! The log is the wire format: an event is stored as the Server-Sent Events frame that every reader
//! is sent (WHATWG HTML, 9.2 "Server-sent events"). A frame is
//!
//! ```text
//! id: 7
//! event: progress
//! data: {"done":512,"total":1024,"unit":"bytes"}
//! ```
//!
//! and an empty line. Data is one line of JSON, so `\n\n` stands at the end of a frame and nowhere
//! else; output has no `event:` line.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::Formatter;

use crate::problem::Problem;

/// One entry of a job's log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its number in the log, from 1.
    pub id: u64,
    /// What it says.
    pub kind: EventKind,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// Something the handler emitted.
    Output(Value),
    /// The job's state changed.
    State {
        /// The new state's name: `queued` or `running`.
        state: String,
        /// The attempt it's in, from 1.
        attempt: u32,
    },
    /// How far the handler is.
    Progress(Progress),
    /// A line of the handler's log.
    Log(LogLine),
    /// The job ended. Always the last event.
    End(End),
}

/// How far a handler is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is in all; `None` if that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is counted, in the plural: `bytes`, `tokens`.
    pub unit: String,
}

impl Progress {
    /// `done` of `total`, counted in `unit`.
    pub fn new(done: u64, total: impl Into<Option<u64>>, unit: impl Into<String>) -> Self {
        Self { done, total: total.into(), unit: unit.into() }
    }
}

/// A line of a handler's log, for the people who read the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
}

/// How important a line of a handler's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For whoever looks for a fault.
    Debug,
    /// What goes on.
    Info,
    /// Something isn't as it should be, and the job goes on.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The level's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum End {
    /// With a result.
    Succeeded {
        /// What the operation returned.
        result: Value,
    },
    /// With an error.
    Failed {
        /// Why.
        error: Problem,
    },
    /// By its owner's wish.
    Cancelled,
}

/// The `event:` field of a frame; output has none.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Output,
    State,
    Progress,
    Log,
    End,
}

impl Field {
    /// What stands between a frame's id and its data.
    fn head(self) -> &'static [u8] {
        match self {
            Self::Output => b"data: ",
            Self::State => b"event: state\ndata: ",
            Self::Progress => b"event: progress\ndata: ",
            Self::Log => b"event: log\ndata: ",
            Self::End => b"event: end\ndata: ",
        }
    }
}

/// The first line of the next frame, `id: 7`, as text that counts up: of most numbers only the last digit
/// is another one than before.
pub(crate) struct IdLine {
    id: u64,
    /// The line, and what doesn't matter behind it. Copied as a whole: the compiler knows its size.
    text: [u8; Self::SIZE],
    len: usize,
}

impl IdLine {
    /// How much there must be room for, bytes: `id: 18446744073709551615\n`, and some more.
    pub(crate) const SIZE: usize = 32;

    const PREFIX: &[u8] = b"id: ";

    /// The line of `id`.
    pub(crate) fn new(id: u64) -> Self {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(id).as_bytes();
        let end = Self::PREFIX.len() + digits.len();
        let mut text = [b'\n'; Self::SIZE];
        text[..Self::PREFIX.len()].copy_from_slice(Self::PREFIX);
        text[Self::PREFIX.len()..end].copy_from_slice(digits);
        Self { id, text, len: end + 1 }
    }

    /// The id that it says.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Goes on to the next id.
    #[inline]
    pub(crate) fn advance(&mut self) {
        let mut at = self.len - 2;
        while self.text[at] == b'9' {
            self.text[at] = b'0';
            at -= 1;
        }
        if at < Self::PREFIX.len() {
            *self = Self::new(self.id + 1);
        } else {
            self.text[at] += 1;
            self.id += 1;
        }
    }

    /// Appends the frame that begins with it, whose other lines are `body`, as [`write_body`] writes them.
    #[inline]
    pub(crate) fn write_frame(&self, out: &mut Vec<u8>, body: &[u8]) {
        let start = out.len();
        out.reserve(Self::SIZE + body.len());
        out.extend_from_slice(&self.text);
        out.truncate(start + self.len);
        out.extend_from_slice(body);
    }
}

/// Appends what a frame has below its id: `field`, `value` as one line of JSON, and the empty line.
pub(crate) fn write_body<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    field: Field,
    value: &T,
) -> serde_json::Result<()> {
    out.extend_from_slice(field.head());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, OneLine))?;
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// `serde_json` writes no line breaks of its own; a [`RawValue`](serde_json::value::RawValue) may
/// carry some, as white space between its tokens, and they become spaces.
struct OneLine;

impl Formatter for OneLine {
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment.as_bytes();
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            writer.write_all(&rest[..at])?;
            writer.write_all(b" ")?;
            rest = &rest[at + 1..];
        }
        writer.write_all(rest)
    }
}

/// The frames of `bytes`, which begins and ends at a frame's border: each one's id and text.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = (u64, &str)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr::memmem::find(rest, b"\n\n")? + 2;
        let (frame, tail) = rest.split_at(end);
        rest = tail;
        let text = std::str::from_utf8(frame).ok()?;
        let id = text.strip_prefix("id: ")?.split('\n').next()?.parse().ok()?;
        Some((id, text))
    })
}

impl Event {
    /// Reads one frame. `None` if it isn't one that Skep writes.
    pub(crate) fn parse(id: u64, frame: &str) -> Option<Self> {
        let mut field = "";
        let mut data = "";
        for line in frame.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => field = value,
                Some(("data", value)) => data = value,
                _ => {}
            }
        }
        Self::from_fields(id, field, data)
    }

    /// An event from the fields of a Server-Sent Event, as a client receives them. `None` if the
    /// data isn't what `field` promises.
    pub fn from_fields(id: u64, field: &str, data: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct State {
            state: String,
            attempt: u32,
        }
        let kind = match field {
            "" | "message" => EventKind::Output(serde_json::from_str(data).ok()?),
            "state" => {
                let State { state, attempt } = serde_json::from_str(data).ok()?;
                EventKind::State { state, attempt }
            }
            "progress" => EventKind::Progress(serde_json::from_str(data).ok()?),
            "log" => EventKind::Log(serde_json::from_str(data).ok()?),
            "end" => EventKind::End(serde_json::from_str(data).ok()?),
            _ => return None,
        };
        Some(Self { id, kind })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    fn frame(id: u64, field: Field, value: &(impl Serialize + ?Sized)) -> String {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        write_body(&mut body, field, value).unwrap();
        IdLine::new(id).write_frame(&mut out, &body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_frame_is_what_the_design_shows() {
        assert_eq!(frame(2, Field::Output, "Hello,"), "id: 2\ndata: \"Hello,\"\n\n");
        assert_eq!(
            frame(3, Field::Progress, &Progress::new(512, 1024, "bytes")),
            "id: 3\nevent: progress\ndata: {\"done\":512,\"total\":1024,\"unit\":\"bytes\"}\n\n"
        );
    }

    #[test]
    fn a_line_break_between_tokens_does_not_end_the_data() {
        let raw = RawValue::from_string("{\n\r\n \"a\":\n1}".to_owned()).unwrap();
        let out = frame(1, Field::Output, &raw);
        let (_, text) = frames(out.as_bytes()).next().unwrap();
        let event = Event::parse(1, text).unwrap();
        assert_eq!(event.kind, EventKind::Output(json!({ "a": 1 })));
        assert_eq!(text.lines().count(), 3);
    }

    proptest! {
        #[test]
        fn ids_count_up(first in prop_oneof![0..u64::MAX, (1..20u32).prop_map(|digits| 10u64.pow(digits) - 2)]) {
            let mut line = IdLine::new(first);
            for id in first..first.saturating_add(30) {
                let mut frame = Vec::new();
                line.write_frame(&mut frame, b"data: 1\n\n");
                prop_assert_eq!(String::from_utf8(frame).unwrap(), format!("id: {id}\ndata: 1\n\n"));
                line.advance();
                prop_assert_eq!(line.id(), id + 1);
            }
        }

        #[test]
        fn any_text_comes_back_as_it_went_in(texts in prop::collection::vec(any::<String>(), 0..20)) {
            let mut log = String::new();
            for (id, text) in (1..).zip(&texts) {
                log += &frame(id, Field::Output, text);
            }
            let events: Vec<_> = frames(log.as_bytes()).map(|(id, text)| Event::parse(id, text).unwrap()).collect();
            let expected: Vec<_> = (1..).zip(texts)
                .map(|(id, text)| Event { id, kind: EventKind::Output(text.into()) }).collect();
            prop_assert_eq!(events, expected);
        }
    }
}
