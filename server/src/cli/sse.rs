//! Reading Server-Sent Events (WHATWG HTML, 9.2.6), as far as Skep sends them.

use std::collections::VecDeque;

use reqwest::Response;
use skep::job::Event;

/// Reads the events of one answer.
pub(super) struct Reader {
    response: Response,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl Reader {
    pub(super) fn new(response: Response) -> Self {
        Self { response, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event; `None` when the answer ends. Cancel-safe.
    pub(super) async fn next(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(bytes) = self.response.chunk().await? else { return Ok(None) };
            self.parser.push(&bytes, &mut self.ready);
        }
    }
}

/// Cuts a byte stream into events. An event that is cut off is never told.
#[derive(Default)]
struct Parser {
    /// The line that hasn't ended.
    line: Vec<u8>,
    id: u64,
    field: String,
    data: String,
}

impl Parser {
    fn push(&mut self, bytes: &[u8], events: &mut VecDeque<Event>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line_ended(
                    String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']),
                    events,
                );
            }
        }
    }

    fn line_ended(&mut self, line: &str, events: &mut VecDeque<Event>) {
        if line.is_empty() {
            let (field, data) = (std::mem::take(&mut self.field), std::mem::take(&mut self.data));
            if !data.is_empty() {
                events.extend(Event::from_fields(self.id, &field, &data));
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.id = value.parse().unwrap_or(self.id),
            "event" => value.clone_into(&mut self.field),
            "data" => self.data.push_str(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skep::job::EventKind;

    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = "id: 1\ndata: \"é\"\n\n: keep-alive\n\nid: 2\nevent: log\n\
                    data: {\"level\":\"info\",\"message\":\"x\"}\n\nid: 3\ndata: cut";
        for size in 1..text.len() {
            let (mut parser, mut events) = (Parser::default(), VecDeque::new());
            for part in text.as_bytes().chunks(size) {
                parser.push(part, &mut events);
            }
            let ids: Vec<_> = events.iter().map(|event| event.id).collect();
            assert_eq!(ids, [1, 2], "in pieces of {size}");
            assert_eq!(events[0].kind, EventKind::Output(json!("é")));
        }
    }
}
