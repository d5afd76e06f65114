//! From the bytes of tokens to text that may be shown: whole characters, nothing of a stop string.

use std::mem;

/// Holds back what is not decided yet: bytes that begin a character, and text that may begin a stop
/// string.
#[derive(Debug)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    bytes: Vec<u8>,
    held: String,
}

impl TextStream {
    /// A stream that ends before the first of `stops`, none of which is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, bytes: Vec::new(), held: String::new() }
    }

    /// Takes a token's bytes; returns the text that they decide, and whether a stop string came.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> (String, bool) {
        self.bytes.extend_from_slice(bytes);
        self.decode();
        if let Some(at) = self.first_stop() {
            self.held.truncate(at);
            self.bytes.clear();
            return (mem::take(&mut self.held), true);
        }
        let undecided = self.held.split_off(self.decided());
        (mem::replace(&mut self.held, undecided), false)
    }

    /// What is still held back when no more tokens come. An incomplete character becomes U+FFFD.
    pub(crate) fn finish(mut self) -> String {
        self.held.push_str(&String::from_utf8_lossy(&self.bytes));
        self.held
    }

    /// Moves whole characters from `bytes` to `held`; bytes that can't be one become U+FFFD.
    fn decode(&mut self) {
        let complete = match self.bytes.utf8_chunks().last() {
            // Only an invalid end can be the beginning of a character.
            Some(last) if may_be_completed(last.invalid()) => {
                self.bytes.len() - last.invalid().len()
            }
            _ => self.bytes.len(),
        };
        self.held.push_str(&String::from_utf8_lossy(&self.bytes[..complete]));
        self.bytes.drain(..complete);
    }

    fn first_stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// The length of `held` that no stop string can begin in.
    fn decided(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let first = self.held.len().saturating_sub(longest.saturating_sub(1));
        (first..self.held.len())
            .filter(|&at| self.held.is_char_boundary(at))
            .find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .unwrap_or(self.held.len())
    }
}

/// Whether more bytes can make a character of these.
fn may_be_completed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool, String) {
        let stops = stops.iter().map(ToString::to_string).collect();
        let mut stream = TextStream::new(stops);
        let mut shown = Vec::new();
        for piece in pieces {
            let (text, stopped) = stream.push(piece);
            shown.push(text);
            if stopped {
                return (shown, true, stream.finish());
            }
        }
        (shown, false, stream.finish())
    }

    #[test]
    fn text_without_stop_strings_passes_at_once() {
        assert_eq!(
            stream(&[], &[b"ab", b"c"]),
            (vec!["ab".into(), "c".into()], false, String::new())
        );
    }

    #[test]
    fn a_stop_string_that_spans_tokens_ends_the_text_before_it() {
        assert_eq!(
            stream(&["\nUser:"], &[b"Hi.", b"\n", b"Us", b"er: x"]),
            (vec!["Hi.".into(), String::new(), String::new(), String::new()], true, String::new())
        );
    }

    #[test]
    fn the_beginning_of_a_stop_string_is_held_until_it_is_decided() {
        assert_eq!(
            stream(&["###"], &[b"a#", b"#", b"b"]),
            (vec!["a".into(), String::new(), "##b".into()], false, String::new())
        );
    }

    #[test]
    fn what_is_held_at_the_end_is_text() {
        assert_eq!(stream(&["###"], &[b"a##"]), (vec!["a".into()], false, "##".into()));
    }

    #[test]
    fn the_earliest_of_several_stop_strings_wins() {
        assert_eq!(stream(&["zz", "b"], &[b"abzz"]), (vec!["a".into()], true, String::new()));
    }

    #[test]
    fn a_stop_string_may_begin_again_inside_itself() {
        assert_eq!(stream(&["aab"], &[b"a", b"a", b"a", b"b"]).0.concat(), "a");
    }

    #[test]
    fn a_character_is_never_cut() {
        let bee = "🐝".as_bytes();
        assert_eq!(
            stream(&[], &[&bee[..1], &bee[1..3], &bee[3..]]),
            (vec![String::new(), String::new(), "🐝".into()], false, String::new())
        );
    }

    #[test]
    fn stop_strings_of_many_bytes_are_cut_at_characters() {
        let text = "ü—é";
        assert_eq!(stream(&["—é!"], &[text.as_bytes()]), (vec!["ü".into()], false, "—é".into()));
    }

    #[test]
    fn impossible_bytes_become_replacement_characters_at_once() {
        assert_eq!(stream(&[], &[b"a\xffb"]), (vec!["a\u{fffd}b".into()], false, String::new()));
    }

    #[test]
    fn an_incomplete_character_at_the_end_becomes_a_replacement_character() {
        assert_eq!(stream(&[], &[b"a\xf0\x9f"]), (vec!["a".into()], false, "\u{fffd}".into()));
    }
}
