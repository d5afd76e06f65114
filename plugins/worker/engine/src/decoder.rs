//! The network: from tokens to the scores of the next one.
//!
//! One decoder for all architectures; what differs between them is data ([`Config`]). It works on
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

/// A loaded network and what it remembers of the text so far.
pub(crate) struct Decoder {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// None when the embedding is used in this place too.
    output: Option<Linear>,
    global_rope: Rope,
    local_rope: Option<Rope>,
    cache: Cache,
    scratch: Scratch,
    /// The row of the last token read, after the last layer.
    last: Vec<f32>,
    scores: Vec<f32>,
}

impl Decoder {
    /// Takes the network out of a file. It remembers at most `context` tokens.
    pub(crate) fn load(
        file: &mut Gguf,
        config: Config,
        vocabulary: usize,
        context: usize,
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
        let cache = Cache::new(config.layers, config.kv_heads, config.head_size, context);
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            output,
            global_rope,
            local_rope,
            cache,
            scratch: Scratch::default(),
            last: Vec::new(),
            scores: Vec::new(),
        })
    }

    /// The tokens that are remembered.
    pub(crate) fn tokens(&self) -> &[u32] {
        self.cache.tokens()
    }

    /// Forgets all but the first `length` tokens.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
    }

    /// Reads tokens that follow those remembered. There has to be room for them, and at least one.
    ///
    /// After an error nothing is remembered.
    pub(crate) fn read(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        let result = self.compute(tokens);
        if result.is_err() {
            self.cache.truncate(0);
        }
        result
    }

    /// The score of each token of the vocabulary to follow the last one that was read.
    pub(crate) fn scores(&mut self) -> Result<&[f32], EngineError> {
        rms_norm(&mut self.last, &self.norm, self.config.norm_epsilon);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        multiply(&self.last, [(output, &mut self.scores)])?;
        if let Some(cap) = self.config.score_cap {
            for score in &mut self.scores {
                *score = cap * (*score / cap).tanh();
            }
        }
        Ok(&self.scores)
    }

    fn compute(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        let config = &self.config;
        let start = self.cache.tokens().len();
        let positions = start..start + tokens.len();
        let mut rows = self.embedding.rows(tokens)?;
        for value in &mut rows {
            *value *= config.embedding_scale;
        }

        let global = self.global_rope.angles(positions.clone());
        let local = self.local_rope.as_ref().map(|rope| rope.angles(positions));
        for (layer, memory) in self.layers.iter().zip(self.cache.layers_mut()) {
            let angles = local.as_ref().filter(|_| layer.is_local()).unwrap_or(&global);
            layer.apply(config, angles, memory, &mut rows, &mut self.scratch)?;
        }
        self.cache.push(tokens);
        self.last.clear();
        self.last.extend_from_slice(&rows[rows.len() - config.width..]);
        Ok(())
    }
}
