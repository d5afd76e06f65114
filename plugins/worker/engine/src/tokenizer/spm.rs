//! `SentencePiece` with scores: characters are joined to the token with the best score, and what is
//! no token is written byte by byte.

use std::collections::HashMap;
use std::sync::Arc;

use super::merge::merge;
use crate::EngineError;
use crate::gguf::Metadata;

/// What stands for a space in a vocabulary.
const SPACE: &str = "\u{2581}";

/// A vocabulary with scores.
pub(super) struct Spm {
    ids: HashMap<Arc<str>, u32>,
    /// How early a token is made, by its id: the better its score, the lower.
    ranks: Vec<u32>,
    /// The tokens of single bytes, for characters that are no token.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// Whether a text begins with a space that nobody wrote.
    add_space_prefix: bool,
}

impl Spm {
    pub(super) fn new(
        metadata: &mut Metadata,
        tokens: &[Arc<str>],
        ids: HashMap<Arc<str>, u32>,
    ) -> Result<Self, EngineError> {
        const SCORES: &str = "tokenizer.ggml.scores";
        let scores = metadata.take_numbers(SCORES)?.ok_or_else(|| metadata.missing(SCORES))?;
        if scores.len() != tokens.len() {
            let (scores, tokens) = (scores.len(), tokens.len());
            return Err(
                metadata.invalid(format!("`{SCORES}` has {scores} entries for {tokens} tokens"))
            );
        }
        let token = |byte: u8| ids.get(format!("<0x{byte:02X}>").as_str()).copied();
        Ok(Self {
            ranks: scores.into_iter().map(rank).collect(),
            bytes: (0..=u8::MAX).map(token).collect(),
            unknown: metadata.token("tokenizer.ggml.unknown_token_id")?,
            add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            ids,
        })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let prefix = if self.add_space_prefix { SPACE } else { "" };
        let text = format!("{prefix}{}", text.replace(' ', SPACE));
        let token = |start: usize, end: usize| self.ids.get(&text[start..end]).copied();
        let characters: Vec<(usize, usize)> =
            text.char_indices().map(|(at, character)| (at, at + character.len_utf8())).collect();
        let pieces = merge(&characters, |left, right| {
            let id = token(left.0, right.1)?;
            Some((self.ranks[id as usize], (left.0, right.1)))
        });
        for (start, end) in pieces {
            if let Some(id) = token(start, end) {
                tokens.push(id);
                continue;
            }
            let token = |byte: u8| self.bytes[usize::from(byte)].or(self.unknown);
            tokens.extend(text[start..end].bytes().filter_map(token));
        }
    }
}

/// The order of scores from the best on, as numbers.
fn rank(score: f32) -> u32 {
    // Adding 0 makes one zero of the two. Of negative numbers, the bits of the lower one are higher.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { bits } else { !bits & (u32::MAX >> 1) }
}

/// The bytes of a token's text.
pub(super) fn decode(text: &str) -> Vec<u8> {
    text.replace(SPACE, " ").into_bytes()
}

/// The byte that a token such as `<0x0A>` stands for.
pub(super) fn byte(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_scores_have_lower_ranks() {
        let scores = [7.5, 0.5, 0.0, -0.5, -3.0, -1000.0];
        assert!(scores.map(rank).is_sorted());
        assert_eq!(rank(0.0), rank(-0.0));
    }

    #[test]
    fn byte_tokens_are_read() {
        assert_eq!(
            (byte("<0x0A>"), byte("<0xFF>"), byte("<0x>"), byte("a")),
            (Some(10), Some(255), None, None)
        );
    }
}
