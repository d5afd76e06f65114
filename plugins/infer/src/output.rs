//! What `infer` gives.

/// A piece of the text, as it comes.
#[skep::data]
pub(crate) struct Token {
    /// The next piece. All of them together are the result's `text`.
    pub(crate) text: String,
}

/// A generated text.
#[skep::data]
pub(crate) struct Inferred {
    /// The text, without the prompt and the stop string.
    pub(crate) text: String,
    /// Why it ends there.
    pub(crate) finish_reason: FinishReason,
    /// Tokens that it took.
    pub(crate) usage: Usage,
    /// Time that it took.
    pub(crate) timings: Timings,
    /// The model that was asked.
    pub(crate) model: String,
    /// The worker that answered.
    pub(crate) worker_id: String,
}

/// Why a text ends.
#[skep::data]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// `max_tokens` were generated, or the context is full.
    Length,
}

/// Tokens that a text took.
#[skep::data]
#[allow(clippy::struct_field_names, reason = "the names that every client of a model knows")]
pub(crate) struct Usage {
    /// Tokens of the prompt, those of the chat template included.
    pub(crate) prompt_tokens: u64,
    /// Generated tokens.
    pub(crate) completion_tokens: u64,
    /// Tokens of the prompt that the worker had computed for an earlier request.
    pub(crate) cached_tokens: u64,
}

/// Time that a text took.
#[skep::data]
pub(crate) struct Timings {
    /// How long the job waited for a worker to load the model, milliseconds; 0 if one had.
    pub(crate) load_ms: u64,
    /// Until the prompt was computed, milliseconds.
    pub(crate) prompt_ms: u64,
    /// From then to the end, milliseconds.
    pub(crate) generation_ms: u64,
    /// Generated tokens a second.
    pub(crate) tokens_per_second: f64,
}

/// The result of `worker_infer`.
#[derive(serde::Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: Usage,
    pub(crate) timings: AnswerTimings,
}

/// The timings in the result of `worker_infer`.
#[derive(serde::Deserialize)]
pub(crate) struct AnswerTimings {
    pub(crate) prompt_ms: u64,
    pub(crate) generation_ms: u64,
    pub(crate) tokens_per_second: f64,
}
