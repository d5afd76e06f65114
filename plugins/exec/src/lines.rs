//! The lines of what a program writes, none longer than a bound.

use memchr::memchr;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How much is read at once, bytes.
const READ: usize = 16 * 1024;

/// Reads lines. What isn't UTF-8 in them is replaced by U+FFFD.
pub(crate) struct Lines<R> {
    from: BufReader<R>,
    /// What has come of the next line.
    line: Vec<u8>,
    most: usize,
    has_ended: bool,
}

/// What has been read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Whole(String),
    /// The first bytes of a line that is too long, as many as may be; the rest follows as the next
    /// line.
    Part(String),
}

impl Line {
    /// What it says.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Whole(text) | Self::Part(text) => text,
        }
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most `most` bytes.
    pub(crate) fn new(from: R, most: usize) -> Self {
        let from = BufReader::with_capacity(READ, from);
        Self { from, line: Vec::new(), most, has_ended: false }
    }

    /// The next line; `None` when there are no more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        while !self.has_ended {
            // What can't be read any more has ended.
            let available = self.from.fill_buf().await.unwrap_or_default();
            if available.is_empty() {
                self.has_ended = true;
                return (!self.line.is_empty()).then(|| Line::Whole(self.take()));
            }
            let room = self.most - self.line.len();
            match memchr(b'\n', available) {
                Some(end) if end <= room => {
                    self.line.extend_from_slice(&available[..end]);
                    self.from.consume(end + 1);
                    return Some(Line::Whole(self.take()));
                }
                _ if available.len() > room => {
                    self.line.extend_from_slice(&available[..room]);
                    self.from.consume(room);
                    return Some(Line::Part(self.take()));
                }
                _ => {
                    let length = available.len();
                    self.line.extend_from_slice(available);
                    self.from.consume(length);
                }
            }
        }
        None
    }

    fn take(&mut self) -> String {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let text = String::from_utf8_lossy(line).into_owned();
        self.line.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(from: &[u8], most: usize) -> Vec<Line> {
        let mut lines = Lines::new(from, most);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.to_owned())
    }

    #[tokio::test]
    async fn lines_end_with_a_line_break_or_the_end() {
        let lines = read(b"one\n\ntwo\r\nlast", 100).await;
        assert_eq!(lines, [whole("one"), whole(""), whole("two"), whole("last")]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_comes_in_parts() {
        let lines = read(b"12345\n1234567\n", 5).await;
        assert_eq!(lines, [whole("12345"), Line::Part("12345".to_owned()), whole("67")]);
    }

    #[tokio::test]
    async fn a_long_line_comes_whole_from_many_reads() {
        let long = "x".repeat(3 * READ + 1);
        assert_eq!(read(format!("{long}\n").as_bytes(), 1 << 20).await, [whole(&long)]);
    }

    #[tokio::test]
    async fn what_is_not_utf_8_is_replaced() {
        assert_eq!(read(b"a\xFFb\n", 100).await, [whole("a\u{FFFD}b")]);
    }
}
