//! The network: from tokens to the scores of the next one.
//!
//! It reads tokens of several texts at once, so that weights, which take the most time to read, are read
//! once for all of them. One decoder for all architectures; what differs between them is data ([`Config`]). It works on
//! plain vectors of `f32`, row by row. There is no tensor graph. Weights stay quantised in memory, and
//! a token's scores don't depend on how many others were computed beside it.

mod attention;
mod cache;
mod config;
mod layer;
mod linear;
mod math;
mod rope;

use crate::EngineError;
use crate::gguf::Gguf;
use cache::Cache;
pub(crate) use config::Config;
use layer::{Layer, Scratch};
use linear::{Linear, multiply};
use math::rms_norm;
use rope::Rope;

/// Tokens that follow those of one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// Which of the decoder's texts.
    pub(crate) slot: usize,
    /// At least one.
    pub(crate) tokens: &'a [u32],
    /// Whether it's wanted which token follows.
    pub(crate) is_scored: bool,
}

/// A loaded network and what it remembers of some texts.
pub(crate) struct Decoder {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// None when the embedding is used in this place too.
    output: Option<Linear>,
    global_rope: Rope,
    local_rope: Option<Rope>,
    /// One for each text.
    caches: Vec<Cache>,
    scratch: Scratch,
    /// The rows of the last tokens of chunks that are scored, after the last layer.
    last: Vec<f32>,
    scores: Vec<f32>,
}

impl Decoder {
    /// Takes the network out of a file. It remembers at most `context` tokens of each of `slots` texts.
    pub(crate) fn load(
        file: &mut Gguf,
        config: Config,
        vocabulary: usize,
        context: usize,
        slots: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let width = config.width;
        let embedding = Linear::load(file, "token_embd.weight", width, vocabulary, progress)?;
        let norm = file.vector("output_norm.weight", width, progress)?;
        let output = if file.has_tensor("output.weight") {
            Some(Linear::load(file, "output.weight", width, vocabulary, progress)?)
        } else {
            None
        };
        let factors = if file.has_tensor("rope_freqs.weight") {
            Some(file.vector("rope_freqs.weight", config.rope_size / 2, progress)?)
        } else {
            None
        };
        let layers = (0..config.layers)
            .map(|index| Layer::load(file, &config, index, progress))
            .collect::<Result<_, _>>()?;

        let rope = |base, scale| Rope::new(config.rope_pairs, config.rope_size, base, scale);
        let global_rope = rope(config.rope_base, config.rope_scale).divided_by(factors.as_deref());
        let local_rope = config.local.as_ref().map(|local| rope(local.rope_base, 1.0));
        let Config { layers: depth, kv_heads, head_size, .. } = config;
        let cache = |_| Cache::new(depth, kv_heads, head_size, context);
        let caches = (0..slots).map(cache).collect();
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            output,
            global_rope,
            local_rope,
            caches,
            scratch: Scratch::default(),
            last: Vec::new(),
            scores: Vec::new(),
        })
    }

    /// The tokens of a text that are remembered.
    pub(crate) fn tokens(&self, slot: usize) -> &[u32] {
        self.caches[slot].tokens()
    }

    /// Forgets all but the first `length` tokens of a text.
    pub(crate) fn truncate(&mut self, slot: usize, length: usize) {
        self.caches[slot].truncate(length);
    }

    /// Reads at most one chunk of each text. There has to be room for them. Returns, for each chunk that is
    /// scored, the score of each token of the vocabulary to follow, one chunk's after the other's.
    ///
    /// After an error nothing is remembered of these texts.
    pub(crate) fn read(&mut self, chunks: &[Chunk<'_>]) -> Result<&[f32], EngineError> {
        if let Err(error) = self.compute(chunks).and_then(|()| self.score()) {
            for chunk in chunks {
                self.caches[chunk.slot].truncate(0);
            }
            return Err(error);
        }
        Ok(&self.scores)
    }

    fn compute(&mut self, chunks: &[Chunk<'_>]) -> Result<(), EngineError> {
        let config = &self.config;
        let tokens: Vec<u32> = chunks.iter().flat_map(|chunk| chunk.tokens).copied().collect();
        let positions = chunks.iter().flat_map(|chunk| {
            let start = self.caches[chunk.slot].tokens().len();
            start..start + chunk.tokens.len()
        });
        let global = self.global_rope.angles(positions.clone());
        let local = self.local_rope.as_ref().map(|rope| rope.angles(positions));
        let mut rows = self.embedding.rows(&tokens)?;
        for value in &mut rows {
            *value *= config.embedding_scale;
        }

        for layer in &self.layers {
            let angles = local.as_ref().filter(|_| layer.is_local()).unwrap_or(&global);
            layer.apply(config, angles, chunks, &mut self.caches, &mut rows, &mut self.scratch)?;
        }
        self.last.clear();
        let mut end = 0;
        for Chunk { slot, tokens, is_scored } in chunks {
            end += tokens.len() * config.width;
            if *is_scored {
                self.last.extend_from_slice(&rows[end - config.width..end]);
            }
            self.caches[*slot].push(tokens);
        }
        Ok(())
    }

    fn score(&mut self) -> Result<(), EngineError> {
        if self.last.is_empty() {
            self.scores.clear();
            return Ok(());
        }
        rms_norm(&mut self.last, &self.norm, self.config.norm_epsilon);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        multiply(&self.last, [(output, &mut self.scores)])?;
        if let Some(cap) = self.config.score_cap {
            for score in &mut self.scores {
                *score = cap * (*score / cap).tanh();
            }
        }
        Ok(())
    }
}
