//! From text to tokens and back, by the vocabulary in the file.
//!
//! The ids are llama.cpp's, to the token: a model knows its text by them. Two kinds of vocabulary are
//! known, `gpt2` (byte pairs, [`bpe`]) and `llama` (`SentencePiece` with scores, [`spm`]).

mod bpe;
mod merge;
mod spm;

use std::collections::HashMap;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::EngineError;
use crate::gguf::Metadata;
use bpe::Bpe;
use spm::Spm;

/// The tokens that end a text, beside those that the metadata names. The names are those of the
/// model families; llama.cpp goes by the same list.
const END_TOKENS: [&str; 9] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "</s>",
];

/// How the text of a special token, such as `<|im_start|>`, is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// As that token.
    Parse,
    /// As text like any other.
    AsText,
}

/// What a token of the vocabulary is; the numbers are those of `enum llama_token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Normal,
    /// Steers the model and has no text of its own.
    Control,
    /// Is found in a text before anything else.
    UserDefined,
    /// Stands for one byte: `<0x0A>`.
    Byte,
    Unused,
}

/// A model's vocabulary.
pub(crate) struct Tokenizer {
    tokens: Vec<Arc<str>>,
    kinds: Vec<TokenKind>,
    model: Model,
    specials: Finder,
    user_defined: Finder,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
}

enum Model {
    Bpe(Bpe),
    Spm(Spm),
}

impl Tokenizer {
    /// Takes the vocabulary out of the metadata.
    pub(crate) fn new(metadata: &mut Metadata) -> Result<Self, EngineError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const MODEL: &str = "tokenizer.ggml.model";

        let texts = metadata.take_texts(TOKENS)?.ok_or_else(|| metadata.missing(TOKENS))?;
        let tokens: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
        let mut kinds = kinds(metadata, tokens.len())?;
        let ids: HashMap<Arc<str>, u32> = tokens.iter().cloned().zip(0..).collect();

        let bos = metadata.token("tokenizer.ggml.bos_token_id")?;
        let eos = metadata.token("tokenizer.ggml.eos_token_id")?;
        let eot = metadata.token("tokenizer.ggml.eot_token_id")?;
        let known = |id: &u32| (*id as usize) < tokens.len();
        let (bos, eos) = (bos.filter(known), eos.filter(known));
        let named = END_TOKENS.iter().filter_map(|name| ids.get(*name).copied());
        let mut ends: Vec<u32> = named.chain(eos).chain(eot.filter(known)).collect();
        ends.sort_unstable();
        ends.dedup();
        // Some files have their end token as a normal one, and it would be shown.
        for &end in &ends {
            kinds[end as usize] = TokenKind::Control;
        }

        let add_bos = metadata.flag("tokenizer.ggml.add_bos_token")?;
        let (model, add_bos) = match metadata.text(MODEL)? {
            Some("gpt2") => (Model::Bpe(Bpe::new(metadata, ids)?), add_bos.unwrap_or(false)),
            Some("llama") => {
                let model = Spm::new(metadata, &tokens, ids)?;
                (Model::Spm(model), add_bos.unwrap_or(true))
            }
            other => {
                return Err(EngineError::UnsupportedTokenizer {
                    key: MODEL,
                    value: other.unwrap_or_default().into(),
                    supported: vec!["gpt2", "llama"],
                });
            }
        };

        let finder = |wanted: &[TokenKind]| Finder::new(&tokens, &kinds, wanted);
        let specials = finder(&[TokenKind::Control, TokenKind::UserDefined])
            .map_err(|detail| metadata.invalid(detail))?;
        let user_defined =
            finder(&[TokenKind::UserDefined]).map_err(|detail| metadata.invalid(detail))?;
        Ok(Self { tokens, kinds, model, specials, user_defined, bos, eos, add_bos, ends })
    }

    /// The number of tokens in the vocabulary.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The text of the token that begins a text, or nothing.
    pub(crate) fn bos_text(&self) -> &str {
        self.bos.map_or("", |id| &self.tokens[id as usize])
    }

    /// The text of the token that ends a text, or nothing.
    pub(crate) fn eos_text(&self) -> &str {
        self.eos.map_or("", |id| &self.tokens[id as usize])
    }

    /// Whether the model ends its text with this token.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The tokens of a text, without BOS.
    pub(crate) fn encode(&self, text: &str, specials: SpecialTokens) -> Vec<u32> {
        let finder = match specials {
            SpecialTokens::Parse => &self.specials,
            SpecialTokens::AsText => &self.user_defined,
        };
        let mut tokens = Vec::new();
        let mut at = 0;
        for (start, end, token) in finder.find(text) {
            self.model.encode(&text[at..start], &mut tokens);
            tokens.push(token);
            at = end;
        }
        self.model.encode(&text[at..], &mut tokens);
        tokens
    }

    /// The tokens of a prompt: special tokens are parsed, and BOS is put before it where the model
    /// asks for it and the text doesn't have it yet.
    pub(crate) fn encode_prompt(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.encode(text, SpecialTokens::Parse);
        if let Some(bos) = self.bos
            && self.add_bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// A token's bytes in the generated text: none for a control token, and not always whole
    /// characters.
    pub(crate) fn decode(&self, token: u32) -> Vec<u8> {
        let text = &self.tokens[token as usize];
        match (self.kinds[token as usize], &self.model) {
            (TokenKind::Control | TokenKind::Unused, _) => Vec::new(),
            (TokenKind::Byte, _) => spm::byte(text).into_iter().collect(),
            (TokenKind::UserDefined, _) => text.as_bytes().to_vec(),
            (TokenKind::Normal, Model::Bpe(_)) => bpe::decode(text),
            (TokenKind::Normal, Model::Spm(_)) => spm::decode(text),
        }
    }
}

impl Model {
    fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        match self {
            _ if text.is_empty() => {}
            Self::Bpe(model) => model.encode(text, tokens),
            Self::Spm(model) => model.encode(text, tokens),
        }
    }
}

/// Finds tokens in a text by their whole text, the longest first.
struct Finder {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl Finder {
    fn new(tokens: &[Arc<str>], kinds: &[TokenKind], wanted: &[TokenKind]) -> Result<Self, String> {
        let ids: Vec<u32> = (0..)
            .zip(tokens.iter().zip(kinds))
            .filter(|(_, (text, kind))| wanted.contains(kind) && !text.is_empty())
            .map(|(id, _)| id)
            .collect();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| tokens[id as usize].as_bytes()))
            .map_err(|error| format!("its special tokens are too many: {error}"))?;
        Ok(Self { automaton, ids })
    }

    fn find(&self, text: &str) -> impl Iterator<Item = (usize, usize, u32)> {
        self.automaton
            .find_iter(text)
            .map(|found| (found.start(), found.end(), self.ids[found.pattern().as_usize()]))
    }
}

/// The kind of each token; all are normal when the file doesn't say.
fn kinds(metadata: &mut Metadata, count: usize) -> Result<Vec<TokenKind>, EngineError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(numbers) = metadata.take_numbers(KEY)? else {
        return Ok(vec![TokenKind::Normal; count]);
    };
    if numbers.len() != count {
        let detail = format!("`{KEY}` has {} entries for {count} tokens", numbers.len());
        return Err(metadata.invalid(detail));
    }
    Ok(numbers
        .into_iter()
        .map(|number| match number {
            2.0 | 3.0 => TokenKind::Control,
            4.0 => TokenKind::UserDefined,
            5.0 => TokenKind::Unused,
            6.0 => TokenKind::Byte,
            _ => TokenKind::Normal,
        })
        .collect())
}
