//! Byte pairs as GPT-2 has them: a text is split into words by regular expressions, a word into its
//! bytes, and bytes are joined by a ranked list of merges.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::merge::merge;
use crate::EngineError;
use crate::gguf::Metadata;

const DIGIT: &str = r"\p{N}";
// The original's last alternative is `\s+(?!\S)`; `Splitter::end` stands for the look-ahead.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

/// The names of `tokenizer.ggml.pre` that are known: how the words are split, and whether a word
/// that is a token is taken as it is, without the merges.
const SPLITTERS: [(&str, &[&str], bool); 8] = [
    ("gpt-2", &[GPT2], false),
    ("smollm", &[DIGIT, GPT2], false),
    ("starcoder", &[DIGIT, GPT2], false),
    ("refact", &[DIGIT, GPT2], false),
    ("command-r", &[DIGIT, GPT2], false),
    ("llama-bpe", &[LLAMA3], true),
    ("llama3", &[LLAMA3], true),
    ("llama-v3", &[LLAMA3], true),
];

/// A vocabulary of byte pairs.
pub(super) struct Bpe {
    splitters: Vec<Splitter>,
    /// The tokens of single bytes. A vocabulary may lack some; such bytes are dropped.
    bytes: Vec<Option<u32>>,
    /// Two tokens, how early they are joined, and the token that they make.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Words that are taken as they are.
    words: HashMap<Arc<str>, u32>,
}

impl Bpe {
    pub(super) fn new(
        metadata: &mut Metadata,
        ids: HashMap<Arc<str>, u32>,
    ) -> Result<Self, EngineError> {
        const MERGES: &str = "tokenizer.ggml.merges";
        const PRE: &str = "tokenizer.ggml.pre";

        let pre = metadata.text(PRE)?.unwrap_or_default();
        let Some((_, patterns, whole_words)) = SPLITTERS.iter().find(|(name, ..)| *name == pre)
        else {
            return Err(EngineError::UnsupportedTokenizer {
                key: PRE,
                value: pre.into(),
                supported: SPLITTERS.iter().map(|(name, ..)| *name).collect(),
            });
        };
        let lines = metadata.take_texts(MERGES)?.ok_or_else(|| metadata.missing(MERGES))?;
        let mut merges = HashMap::with_capacity(lines.len());
        for (rank, line) in (0..).zip(&lines) {
            let Some((left, right)) = line.split_once(' ') else { continue };
            let token = |text: &str| ids.get(text).copied();
            if let (Some(left), Some(right), Some(joined)) =
                (token(left), token(right), token(&format!("{left}{right}")))
            {
                merges.entry((left, right)).or_insert((rank, joined));
            }
        }
        let token =
            |byte: u8| ids.get(LETTERS[usize::from(byte)].encode_utf8(&mut [0; 4])).copied();
        Ok(Self {
            splitters: patterns.iter().map(|pattern| Splitter::new(pattern)).collect(),
            bytes: (0..=u8::MAX).map(token).collect(),
            merges,
            words: if *whole_words { ids } else { HashMap::new() },
        })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let whole = 0..text.len();
        let mut words = vec![whole];
        for splitter in &self.splitters {
            words = words.into_iter().flat_map(|word| splitter.split(text, word)).collect();
        }
        for word in words {
            self.encode_word(&text[word], tokens);
        }
    }

    fn encode_word(&self, word: &str, tokens: &mut Vec<u32>) {
        if !self.words.is_empty() {
            let letters: String = word.bytes().map(|byte| LETTERS[usize::from(byte)]).collect();
            if let Some(&token) = self.words.get(letters.as_str()) {
                tokens.push(token);
                return;
            }
        }
        let bytes: Vec<_> = word.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        let join = |left: Option<u32>, right: Option<u32>| {
            let &(rank, joined) = self.merges.get(&(left?, right?))?;
            Some((rank, Some(joined)))
        };
        tokens.extend(merge(&bytes, join).into_iter().flatten());
    }
}

/// The bytes that a token's letters stand for.
pub(super) fn decode(text: &str) -> Vec<u8> {
    text.chars().filter_map(|letter| BYTES.get(&letter).copied()).collect()
}

/// The letter that stands for each byte in a vocabulary: itself when it is visible, else one from
/// U+0100 on.
static LETTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let mut others = '\u{100}'..;
    let mut letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => Some(char::from(byte)),
        _ => others.next(),
    };
    (0..=u8::MAX).filter_map(&mut letter).collect()
});

static BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| LETTERS.iter().copied().zip(0..=u8::MAX).collect());

/// Splits a text into words.
struct Splitter {
    words: Regex,
    /// Whether a newline ends a run of whitespace, whatever follows.
    newline_ends: bool,
}

impl Splitter {
    fn new(pattern: &str) -> Self {
        let words = Regex::new(pattern).expect("the patterns are constants, and tested");
        Self { words, newline_ends: pattern == LLAMA3 }
    }

    /// The words of a part of a text; what no word matches is a word too.
    fn split(&self, text: &str, part: Range<usize>) -> Vec<Range<usize>> {
        let (base, text) = (part.start, &text[part]);
        let mut words = Vec::new();
        let mut at = 0;
        while let Some(found) = self.words.find_at(text, at) {
            if at < found.start() {
                words.push(base + at..base + found.start());
            }
            at = self.end(text, found.range());
            words.push(base + found.start()..base + at);
        }
        if at < text.len() {
            words.push(base + at..base + text.len());
        }
        words
    }

    /// Where a word ends: a run of whitespace leaves its last character to the word that follows.
    fn end(&self, text: &str, word: Range<usize>) -> usize {
        let run = &text[word.clone()];
        let is_run = run.chars().all(char::is_whitespace)
            && word.end < text.len()
            && !(self.newline_ends && run.ends_with(['\r', '\n']));
        match run.char_indices().last() {
            Some((last, _)) if is_run && last > 0 => word.start + last,
            _ => word.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
        let words = Splitter::new(pattern).split(text, 0..text.len());
        words.into_iter().map(|word| &text[word]).collect()
    }

    #[test]
    fn each_byte_has_a_letter_of_its_own_and_back() {
        assert_eq!(LETTERS.len(), 256);
        assert_eq!((LETTERS[usize::from(b' ')], LETTERS[usize::from(b'a')]), ('Ġ', 'a'));
        let all: String = LETTERS.iter().collect();
        assert_eq!(decode(&all), (0..=u8::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_space_of_a_run_goes_to_the_word_that_follows() {
        for pattern in [GPT2, LLAMA3] {
            assert_eq!(split(pattern, "a  b   "), ["a", " ", " b", "   "], "{pattern}");
        }
        assert_eq!(split(GPT2, "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(split(GPT2, "a\tb"), ["a", "\t", "b"]);
    }

    #[test]
    fn newlines_stay_together_in_llama_3() {
        assert_eq!(split(LLAMA3, "a \n\n b"), ["a", " \n\n", " b"]);
        assert_eq!(split(LLAMA3, "a.\n1234'LL"), ["a", ".\n", "123", "4", "'LL"]);
    }

    #[test]
    fn digits_are_words_of_their_own_where_the_model_wants_it() {
        assert_eq!(split(DIGIT, "in 1984"), ["in ", "1", "9", "8", "4"]);
    }

    #[test]
    fn contractions_are_words() {
        assert_eq!(split(GPT2, "don't we'll"), ["don", "'t", " we", "'ll"]);
    }
}
