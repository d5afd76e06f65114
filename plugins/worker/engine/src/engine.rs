//! One model, and the texts that it generates.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use candle_core::utils::barrier_pool;

use crate::chat::ChatTemplate;
use crate::decoder::{Config, Decoder};
use crate::gguf::Gguf;
use crate::sampler::Sampler;
use crate::text::TextStream;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::{EngineError, FinishReason, Generation, Prompt, Request, Step, Timings, Usage};

/// The context that suits most uses: room for a long conversation, at a bounded cost in memory.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Tokens of a prompt that are computed at once: enough for full speed, and few enough that a
/// cancellation is heard soon.
const BATCH: usize = 64;

/// A loaded model.
///
/// It generates one text at a time. What it has read stays in its cache, so that a prompt that begins
/// like the one before, as each turn of a conversation does, costs only its new tokens.
pub struct Engine {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    decoder: Decoder,
}

/// What is known of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// `general.architecture` of the file: `llama`, `gemma3`.
    pub architecture: String,
    /// The name that the file gives the model.
    pub name: Option<String>,
    /// The number of weights.
    pub parameters: u64,
    /// The file's size.
    pub bytes: u64,
    /// The number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// The most tokens that the model was trained to keep apart.
    pub trained_context: usize,
    /// The most tokens, prompt and answer together, that this engine keeps.
    pub context: usize,
    /// Whether [`Prompt::Messages`] can be answered.
    pub has_chat_template: bool,
    /// Threads that compute: as many as there are cores, unless `CANDLE_NUM_THREADS` said otherwise
    /// when the process started.
    pub threads: usize,
}

impl Engine {
    /// Loads a GGUF file into memory. The engine keeps at most `context` tokens, or as many as the
    /// model was trained for when those are fewer. `progress` is told how many bytes of how many are
    /// loaded.
    ///
    /// # Errors
    /// When the file can't be read, is damaged, or holds a model that the engine can't compute.
    pub fn load(
        path: &Path,
        context: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let mut file = Gguf::open(path)?;
        let (bytes, parameters) = (file.bytes(), file.parameters());
        let config = Config::new(&file.metadata)?;
        let name = file.metadata.text("general.name")?.map(ToOwned::to_owned);
        let tokenizer = Tokenizer::new(&mut file.metadata)?;
        let template = match file.metadata.text("tokenizer.chat_template")? {
            None => None,
            Some(source) => {
                let (bos, eos) = (tokenizer.bos_text().into(), tokenizer.eos_text().into());
                Some(ChatTemplate::new(source.into(), bos, eos)?)
            }
        };
        let info = ModelInfo {
            architecture: config.architecture.into(),
            name,
            parameters,
            bytes,
            vocabulary: tokenizer.len(),
            trained_context: config.trained_context,
            context: context.min(config.trained_context),
            has_chat_template: template.is_some(),
            threads: barrier_pool().n_workers() + 1,
        };
        let decoder = Decoder::load(&mut file, config, tokenizer.len(), info.context, progress)?;
        file.finish()?;
        Ok(Self { info, tokenizer, template, decoder })
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokens of a text, without BOS.
    pub fn tokenize(&self, text: &str, specials: SpecialTokens) -> Vec<u32> {
        self.tokenizer.encode(text, specials)
    }

    /// Forgets all that was read. Memory is kept for what comes.
    pub fn clear_cache(&mut self) {
        self.decoder.truncate(0);
    }

    /// Generates a text; blocks until it is done.
    ///
    /// `on_step` is called after each batch of the prompt and after each token. What it answers is
    /// heeded at once: after [`ControlFlow::Break`] nothing more is computed, and the text so far is
    /// returned as [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// When the request can't be answered ([`EngineError::is_request_error`]), before anything is
    /// computed, or the computation fails.
    pub fn generate(
        &mut self,
        request: &Request,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, EngineError> {
        let started = Instant::now();
        if request.stop.iter().any(String::is_empty) {
            let detail = "has an empty string, which would end every text before it begins".into();
            return Err(EngineError::InvalidRequest { parameter: "stop", detail });
        }
        let mut sampler = Sampler::new(request.sampling)?;
        let prompt = self.encode(&request.prompt)?;

        let mut usage = Usage { prompt_tokens: prompt.len(), ..Usage::default() };
        usage.cached_tokens = self.reuse(&prompt);
        let flow = self.read_prompt(&prompt, on_step)?;
        let prompt_time = started.elapsed();

        let mut text = String::new();
        let finish_reason = match flow {
            ControlFlow::Break(()) => FinishReason::Cancelled,
            ControlFlow::Continue(()) => {
                self.write(request, &mut sampler, &mut text, &mut usage, on_step)?
            }
        };
        let generation = started.elapsed().saturating_sub(prompt_time);
        let timings = Timings { prompt: prompt_time, generation };
        Ok(Generation { text, finish_reason, usage, timings })
    }

    /// The prompt's tokens, of which there is at least one and the context has room for all.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        let tokens = match prompt {
            Prompt::Text(text) => self.tokenizer.encode_prompt(text),
            Prompt::Messages(messages) => {
                let template = self.template.as_ref().ok_or(EngineError::NoChatTemplate)?;
                self.tokenizer.encode_prompt(&template.render(messages)?)
            }
        };
        match tokens.len() {
            0 => Err(EngineError::EmptyPrompt),
            count if count > self.info.context => {
                Err(EngineError::PromptTooLong { tokens: count, context: self.info.context })
            }
            _ => Ok(tokens),
        }
    }

    /// Keeps what the cache has in common with the prompt; returns how many tokens that is. The last
    /// token is always read again, since its scores are not kept.
    fn reuse(&mut self, prompt: &[u32]) -> usize {
        let common = self.decoder.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = common.min(prompt.len() - 1);
        self.decoder.truncate(kept);
        kept
    }

    fn read_prompt(
        &mut self,
        prompt: &[u32],
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, EngineError> {
        let mut done = self.decoder.tokens().len();
        for batch in prompt[done..].chunks(BATCH) {
            self.decoder.read(batch)?;
            done += batch.len();
            if on_step(Step::Prompt { done, total: prompt.len() }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn write(
        &mut self,
        request: &Request,
        sampler: &mut Sampler,
        text: &mut String,
        usage: &mut Usage,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<FinishReason, EngineError> {
        let most = request.max_tokens.unwrap_or(usize::MAX);
        let mut stream = TextStream::new(&request.stop);
        let reason = loop {
            if usage.completion_tokens == most {
                break FinishReason::Length;
            }
            let token = sampler.sample(self.decoder.scores()?);
            usage.completion_tokens += 1;
            if self.tokenizer.is_end(token) {
                break FinishReason::Stop;
            }
            let (piece, stopped) = stream.push(&self.tokenizer.decode(token));
            text.push_str(&piece);
            let flow = on_step(Step::Token { text: &piece });
            if stopped {
                break FinishReason::Stop;
            }
            if flow.is_break() {
                return Ok(FinishReason::Cancelled);
            }
            if self.decoder.tokens().len() == self.info.context {
                break FinishReason::Length;
            }
            self.decoder.read(&[token])?;
        };
        let held = stream.finish();
        if !held.is_empty() {
            text.push_str(&held);
            // The text is complete: there is nothing left to break off.
            let _ = on_step(Step::Token { text: &held });
        }
        Ok(reason)
    }
}
