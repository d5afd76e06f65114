//! One model, and the texts that it generates, several at a time.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use candle_core::utils::barrier_pool;

use crate::chat::ChatTemplate;
use crate::decoder::{Chunk, Config, Decoder};
use crate::gguf::Gguf;
use crate::sequence::{Sequence, SequenceId, Writer};
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::{EngineError, FinishReason, Generation, Prompt, Request, Step};

/// The context that suits most uses: room for a long conversation, at a bounded cost in memory.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Tokens of a prompt that are computed at once: enough for full speed, and few enough that a
/// cancellation is heard soon.
const BATCH: usize = 64;

/// The same while other texts are written, which wait for it between two tokens.
const SHARED_BATCH: usize = 16;

/// A loaded model.
///
/// It has as many texts under way at once as it has slots, and computes them together, which takes less
/// time than one after the other: weights are read once for all. A text doesn't depend on those beside it.
///
/// What was read stays in its slot, so that a prompt that begins like an earlier text, as each turn of a
/// conversation does, costs only its new tokens.
pub struct Engine {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    decoder: Decoder,
    /// The texts under way, in the order they came.
    sequences: Vec<Sequence>,
    /// When each slot was used last, by `clock`.
    last_uses: Vec<u64>,
    /// Counts beginnings and ends.
    clock: u64,
    /// Texts that have ended while only another one's end was waited for.
    ended: Vec<(SequenceId, Generation)>,
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
    /// The most tokens, prompt and answer together, that this engine keeps of a text.
    pub context: usize,
    /// How many texts may be under way at once.
    pub slots: usize,
    /// Whether [`Prompt::Messages`] can be answered.
    pub has_chat_template: bool,
    /// Threads that compute: as many as there are cores, unless `CANDLE_NUM_THREADS` said otherwise
    /// when the process started.
    pub threads: usize,
}

impl Engine {
    /// Loads a GGUF file into memory. The engine has `slots` texts under way at once, at least one, and
    /// keeps at most `context` tokens of each, or as many as the model was trained for when those are
    /// fewer. `progress` is told how many bytes of how many are loaded.
    ///
    /// # Errors
    /// When the file can't be read, is damaged, or holds a model that the engine can't compute.
    pub fn load(
        path: &Path,
        context: usize,
        slots: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let slots = slots.max(1);
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
            slots,
            has_chat_template: template.is_some(),
            threads: barrier_pool().n_workers() + 1,
        };
        let decoder =
            Decoder::load(&mut file, config, tokenizer.len(), info.context, slots, progress)?;
        file.finish()?;
        Ok(Self {
            info,
            tokenizer,
            template,
            decoder,
            sequences: Vec::new(),
            last_uses: vec![0; slots],
            clock: 0,
            ended: Vec::new(),
        })
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokens of a text, without BOS.
    pub fn tokenize(&self, text: &str, specials: SpecialTokens) -> Vec<u32> {
        self.tokenizer.encode(text, specials)
    }

    /// Forgets all that was read for texts that have ended. Memory is kept for what comes.
    pub fn clear_cache(&mut self) {
        for slot in 0..self.info.slots {
            if self.is_free(slot) {
                self.decoder.truncate(slot, 0);
            }
        }
    }

    /// Generates a text; blocks until it is done. Others that are under way go on meanwhile, and
    /// [`advance`](Self::advance) returns those that have ended.
    ///
    /// `on_step` is called after each batch of the prompt and after each token. What it answers is
    /// heeded at once: after [`ControlFlow::Break`] nothing more is computed, and the text so far is
    /// returned as [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin) and [`advance`](Self::advance).
    pub fn generate(
        &mut self,
        request: &Request,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, EngineError> {
        let ours = self.begin(request)?;
        loop {
            let ended = self.advance(&mut |id, step| {
                if id == ours { on_step(step) } else { ControlFlow::Continue(()) }
            })?;
            let mut generated = None;
            for (id, generation) in ended {
                if id == ours {
                    generated = Some(generation);
                } else {
                    self.ended.push((id, generation));
                }
            }
            if let Some(generation) = generated {
                return Ok(generation);
            }
        }
    }

    /// Takes a text under way, if there is a free slot; [`advance`](Self::advance) computes it.
    ///
    /// # Errors
    /// When the request can't be answered ([`EngineError::is_request_error`]), or with
    /// [`EngineError::Busy`] when all slots are taken.
    pub fn begin(&mut self, request: &Request) -> Result<SequenceId, EngineError> {
        let begun = Instant::now();
        let writer = Writer::new(request)?;
        let prompt = self.encode(&request.prompt)?;
        let slot = self.slot_for(&prompt).ok_or(EngineError::Busy { slots: self.info.slots })?;
        // The last token is always read again, since its scores are not kept.
        let kept = common(self.decoder.tokens(slot), &prompt).min(prompt.len() - 1);
        self.decoder.truncate(slot, kept);
        self.use_slot(slot);
        let id = SequenceId(self.clock);
        self.sequences.push(Sequence::new(id, slot, prompt, kept, writer, begun));
        Ok(id)
    }

    /// Whether a text is under way, or has ended and [`advance`](Self::advance) hasn't returned it yet.
    pub fn is_busy(&self) -> bool {
        !(self.sequences.is_empty() && self.ended.is_empty())
    }

    /// Computes the next token of each text that is under way, or the next part of its prompt; returns
    /// those that have ended. Blocks for as long as that takes, and returns at once if nothing is under way.
    ///
    /// `on_step` is called for each text that has come further. After [`ControlFlow::Break`] that text
    /// ends as [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// If the computation fails. Then nothing is under way any more, and nothing is remembered.
    ///
    /// # Panics
    /// If `on_step` does. The engine is of no use then: some of its texts never end.
    pub fn advance(
        &mut self,
        on_step: &mut dyn FnMut(SequenceId, Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<(SequenceId, Generation)>, EngineError> {
        let plan = self.plan();
        let mut ended = std::mem::take(&mut self.ended);
        if plan.is_empty() {
            return Ok(ended);
        }
        let chunks: Vec<_> = plan
            .iter()
            .map(|&(index, (start, end))| {
                let Sequence { slot, tokens, .. } = &self.sequences[index];
                Chunk { slot: *slot, tokens: &tokens[start..end], is_scored: end == tokens.len() }
            })
            .collect();
        let scores = match self.decoder.read(&chunks) {
            Ok(scores) => scores,
            Err(error) => {
                self.sequences.clear();
                self.clear_cache();
                return Err(error);
            }
        };
        let mut scores = scores.chunks_exact(self.info.vocabulary);
        let mut endings = Vec::new();
        for (index, (_, end)) in plan {
            let sequence = &mut self.sequences[index];
            let id = sequence.id;
            let tell = &mut |step: Step<'_>| on_step(id, step);
            let is_scored = end == sequence.tokens.len();
            let mut flow = ControlFlow::Continue(());
            if !sequence.is_writing() {
                flow = sequence.has_read(end, tell);
            }
            if is_scored
                && let Some(scores) = scores.next()
                && flow.is_continue()
            {
                flow = sequence.draw(scores, &self.tokenizer, self.info.context, tell);
            }
            if let ControlFlow::Break(reason) = flow {
                endings.push((index, reason));
            }
        }
        for (index, reason) in endings.into_iter().rev() {
            let sequence = self.sequences.remove(index);
            self.use_slot(sequence.slot);
            let id = sequence.id;
            ended.push((id, sequence.end(reason, &mut |step| on_step(id, step))));
        }
        Ok(ended)
    }

    /// Ends a text early. Returns what it is so far; `None` if it isn't under way.
    pub fn cancel(&mut self, id: SequenceId) -> Option<Generation> {
        let index = self.sequences.iter().position(|sequence| sequence.id == id)?;
        let sequence = self.sequences.remove(index);
        self.use_slot(sequence.slot);
        Some(sequence.end(FinishReason::Cancelled, &mut |_| ControlFlow::Continue(())))
    }

    /// What is computed next: which tokens of which texts. Each that is written gets its token; prompts
    /// share what room there is.
    fn plan(&self) -> Vec<(usize, (usize, usize))> {
        let writing = self.sequences.iter().filter(|sequence| sequence.is_writing()).count();
        let room = if writing > 0 { SHARED_BATCH } else { BATCH };
        let share = room / (self.sequences.len() - writing).max(1);
        let next = |(index, sequence): (usize, &Sequence)| {
            let start = self.decoder.tokens(sequence.slot).len();
            let end = sequence.tokens.len().min(start + share.max(1));
            (index, (start, end))
        };
        self.sequences.iter().enumerate().map(next).collect()
    }

    fn use_slot(&mut self, slot: usize) {
        self.clock += 1;
        self.last_uses[slot] = self.clock;
    }

    /// The free slot that remembers the most of the prompt, if at least half of what it remembers goes on
    /// there; else the one that was used the longest ago.
    fn slot_for(&self, prompt: &[u32]) -> Option<usize> {
        let free = || (0..self.info.slots).filter(|slot| self.is_free(*slot));
        let goes_on = free().filter_map(|slot| {
            let tokens = self.decoder.tokens(slot);
            let common = common(tokens, prompt);
            (common > 0 && 2 * common >= tokens.len()).then_some((common, slot))
        });
        let goes_on = goes_on.max().map(|(_, slot)| slot);
        goes_on.or_else(|| free().min_by_key(|slot| self.last_uses[*slot]))
    }

    fn is_free(&self, slot: usize) -> bool {
        self.sequences.iter().all(|sequence| sequence.slot != slot)
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
}

/// How many tokens two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
