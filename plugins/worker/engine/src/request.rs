//! What is asked of an engine, and what it answers.

use std::time::Duration;

/// One text to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What to continue or answer.
    pub prompt: Prompt,
    /// The most tokens to generate; `None` is as many as the context holds.
    pub max_tokens: Option<usize>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Generation ends before the first of these; none may be empty.
    pub stop: Vec<String>,
}

impl Request {
    /// A request that is limited by the context alone, with the default sampling.
    pub fn new(prompt: Prompt) -> Self {
        Self { prompt, max_tokens: None, sampling: Sampling::default(), stop: Vec::new() }
    }
}

/// What to continue or answer.
///
/// In both forms the text of a special token (`<|im_start|>`) is read as that token, as llama.cpp's
/// server does: a program that puts untrusted text into a prompt has to take such markers out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A raw text. BOS is put before it where the model asks for it.
    Text(String),
    /// A conversation, written by the model's own chat template.
    Messages(Vec<Message>),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How the next token is drawn: temperature first, then `top_k`, then `top_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token always; 1 draws by the model's own probabilities.
    pub temperature: f32,
    /// Draw from the likeliest tokens that together have this probability, above 0 up to 1 (all).
    pub top_p: f32,
    /// Draw from this many of the likeliest tokens; 0 is all.
    pub top_k: usize,
    /// The same seed and request give the same text; `None` is another text each time.
    pub seed: Option<u64>,
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

impl Default for Sampling {
    /// The defaults of llama.cpp: 0.8, 0.95, 40, no seed.
    fn default() -> Self {
        Self { temperature: 0.8, top_p: 0.95, top_k: 40, seed: None }
    }
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A batch of the prompt was computed.
    Prompt {
        /// Tokens of the prompt that are in the cache, those of earlier requests included.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated.
    Token {
        /// The text that is decided by now, often more or less than the token's own: empty while a
        /// character is incomplete or a stop string may have begun. All of these together are
        /// [`Generation::text`]; what was held back at the end comes as one more step.
        text: &'a str,
    },
}

/// A generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generation {
    /// The text, without the prompt, the stop string and the end token.
    pub text: String,
    /// Why it ends there.
    pub finish_reason: FinishReason,
    /// Tokens that it took.
    pub usage: Usage,
    /// Time that it took.
    pub timings: Timings,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its text, or a stop string came.
    Stop,
    /// `max_tokens` were generated, or the context is full.
    Length,
    /// The caller broke it off.
    Cancelled,
}

/// Tokens that a generation took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, BOS and the chat template's included.
    pub prompt_tokens: usize,
    /// Generated tokens, the end token included.
    pub completion_tokens: usize,
    /// Tokens of the prompt that an earlier request had left in the cache.
    pub cached_tokens: usize,
}

/// Time that a generation took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the prompt was computed.
    pub prompt: Duration,
    /// From then to the end.
    pub generation: Duration,
}
