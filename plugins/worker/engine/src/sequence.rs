//! One text under way: from its prompt to what ends it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::sampler::Sampler;
use crate::text::TextStream;
use crate::tokenizer::Tokenizer;
use crate::{EngineError, FinishReason, Generation, Request, Step, Timings, Usage};

/// One of the texts that an engine has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub(crate) u64);

/// A text under way.
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Where the decoder remembers it.
    pub(crate) slot: usize,
    /// The prompt, and what was drawn. The decoder may not have read the last of them.
    pub(crate) tokens: Vec<u32>,
    writer: Writer,
    usage: Usage,
    begun: Instant,
    /// How long it took to read the prompt, once it's read.
    prompt_time: Option<Duration>,
}

/// What draws tokens for a request, and makes text of them.
pub(crate) struct Writer {
    sampler: Sampler,
    stream: TextStream,
    text: String,
    most: usize,
}

impl Writer {
    /// # Errors
    /// [`EngineError::InvalidRequest`].
    pub(crate) fn new(request: &Request) -> Result<Self, EngineError> {
        if request.stop.iter().any(String::is_empty) {
            let detail = "has an empty string, which would end every text before it begins".into();
            return Err(EngineError::InvalidRequest { parameter: "stop", detail });
        }
        Ok(Self {
            sampler: Sampler::new(request.sampling)?,
            stream: TextStream::new(request.stop.clone()),
            text: String::new(),
            most: request.max_tokens.unwrap_or(usize::MAX),
        })
    }
}

impl Sequence {
    /// One that goes on after `prompt`, of which the decoder remembers the first tokens.
    pub(crate) fn new(
        id: SequenceId,
        slot: usize,
        prompt: Vec<u32>,
        cached_tokens: usize,
        writer: Writer,
        begun: Instant,
    ) -> Self {
        let prompt_tokens = prompt.len();
        let usage = Usage { prompt_tokens, cached_tokens, completion_tokens: 0 };
        Self { id, slot, tokens: prompt, writer, usage, begun, prompt_time: None }
    }

    /// Whether the prompt has been read.
    pub(crate) fn is_writing(&self) -> bool {
        self.prompt_time.is_some()
    }

    /// The decoder has read the first `done` tokens of the prompt. Says so, and what ends the text.
    pub(crate) fn has_read(
        &mut self,
        done: usize,
        tell: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<FinishReason> {
        let total = self.usage.prompt_tokens;
        if done == total {
            self.prompt_time = Some(self.begun.elapsed());
        }
        cancelled(tell(Step::Prompt { done, total }))
    }

    /// Draws the next token by its scores; `context` is how many tokens the decoder can remember, and it
    /// remembers all that there are. Says what ends the text.
    pub(crate) fn draw(
        &mut self,
        scores: &[f32],
        tokenizer: &Tokenizer,
        context: usize,
        tell: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<FinishReason> {
        let Writer { sampler, stream, text, most } = &mut self.writer;
        if *most == 0 {
            return ControlFlow::Break(FinishReason::Length);
        }
        let token = sampler.sample(scores);
        self.usage.completion_tokens += 1;
        if tokenizer.is_end(token) {
            return ControlFlow::Break(FinishReason::Stop);
        }
        let (piece, stopped) = stream.push(&tokenizer.decode(token));
        text.push_str(&piece);
        let flow = tell(Step::Token { text: &piece });
        if stopped {
            return ControlFlow::Break(FinishReason::Stop);
        }
        cancelled(flow)?;
        if self.usage.completion_tokens == *most || self.tokens.len() == context {
            return ControlFlow::Break(FinishReason::Length);
        }
        self.tokens.push(token);
        ControlFlow::Continue(())
    }

    /// The text as it ends. What was held back comes as one more step, unless nobody wants it.
    pub(crate) fn end(
        self,
        finish_reason: FinishReason,
        tell: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Generation {
        let Writer { stream, mut text, .. } = self.writer;
        let held = stream.finish();
        if finish_reason != FinishReason::Cancelled && !held.is_empty() {
            text.push_str(&held);
            // The text is complete: there is nothing left to break off.
            let _ = tell(Step::Token { text: &held });
        }
        let all = self.begun.elapsed();
        let prompt = self.prompt_time.unwrap_or(all);
        let timings = Timings { prompt, generation: all.saturating_sub(prompt) };
        Generation { text, finish_reason, usage: self.usage, timings }
    }
}

fn cancelled(flow: ControlFlow<()>) -> ControlFlow<FinishReason> {
    match flow {
        ControlFlow::Continue(()) => ControlFlow::Continue(()),
        ControlFlow::Break(()) => ControlFlow::Break(FinishReason::Cancelled),
    }
}
