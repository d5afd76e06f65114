//! What can go wrong, and what to do about it.

use std::path::PathBuf;

/// Why a model was not loaded, or a request not answered.
///
/// [`is_request_error`](Self::is_request_error) tells the two apart: after a request's error the
/// engine goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The file could not be opened or read.
    #[error("cannot read the model file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// The file is not GGUF, ends early, or contradicts itself.
    #[error("{} is not a usable GGUF file: {detail}; download it again", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },

    /// The file is sound, but its network is none that this engine computes.
    #[error(
        "architecture `{architecture}` is not supported; the built-in engine runs {}",
        supported.join(", ")
    )]
    UnsupportedArchitecture {
        /// `general.architecture` of the file.
        architecture: String,
        /// What would have been accepted.
        supported: &'static [&'static str],
    },

    /// The vocabulary's kind, or its way to split text into words, is unknown here. Guessing would
    /// give wrong tokens without a word, so the model is refused.
    #[error("{key} = `{value}` is not supported; the built-in engine knows {}", supported.join(", "))]
    UnsupportedTokenizer {
        /// The metadata key.
        key: &'static str,
        /// Its value in the file.
        value: String,
        /// What would have been accepted.
        supported: Vec<&'static str>,
    },

    /// A known architecture with a feature that is not computed here.
    #[error("the model needs what the built-in engine lacks: {detail}")]
    UnsupportedModel {
        /// The feature.
        detail: String,
    },

    /// Messages were given to a model without a chat template.
    #[error(
        "the model has no chat template: send a plain prompt, or use an instruction-tuned model"
    )]
    NoChatTemplate,

    /// The model's chat template refused the messages or is broken.
    #[error("the model's chat template failed: {detail}")]
    ChatTemplate {
        /// What the template said.
        detail: String,
    },

    /// The prompt has no token, so there is nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,

    /// The prompt alone is longer than the context.
    #[error("the prompt has {tokens} tokens and the context holds {context}; shorten the prompt")]
    PromptTooLong {
        /// The prompt's length in tokens, BOS included.
        tokens: usize,
        /// The most tokens this engine keeps.
        context: usize,
    },

    /// A parameter of the request is out of its range.
    #[error("{parameter} {detail}")]
    InvalidRequest {
        /// The field of the request.
        parameter: &'static str,
        /// Its range, and what was given.
        detail: String,
    },

    /// As many texts are under way as there are slots.
    #[error("all {slots} slots are taken; wait until one is free")]
    Busy {
        /// How many there are.
        slots: usize,
    },

    /// The program was built for a newer processor than this one.
    #[error(
        "this build needs a processor with {missing} (x86-64-v3), and this one has none; \
         build it with RUSTFLAGS=\"-C target-cpu=x86-64\", which is slower"
    )]
    MissingCpuFeature {
        /// The instruction sets that are missing.
        missing: String,
    },

    /// The numeric library failed: a defect, or no memory.
    #[error("computation failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl EngineError {
    /// Whether the request was at fault, and not the model or the machine: the same engine can
    /// answer another one.
    pub fn is_request_error(&self) -> bool {
        matches!(
            self,
            Self::NoChatTemplate
                | Self::ChatTemplate { .. }
                | Self::EmptyPrompt
                | Self::PromptTooLong { .. }
                | Self::InvalidRequest { .. }
        )
    }
}
