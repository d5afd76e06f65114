//! One layer: attention, then the feed-forward part, each added to what came in.

use super::Chunk;
use super::attention::{Attention, Visible};
use super::cache::Cache;
use super::config::Config;
use super::linear::{Linear, multiply};
use super::math::{add, rms_norm};
use super::rope::Angles;
use crate::EngineError;
use crate::gguf::Gguf;

/// The weights of a layer.
pub(super) struct Layer {
    index: usize,
    attention: Attention,
    attention_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
    more_norms: Option<MoreNorms>,
}

/// Norms that only some architectures have.
struct MoreNorms {
    query: Vec<f32>,
    key: Vec<f32>,
    attention_output: Vec<f32>,
    feed_output: Vec<f32>,
}

/// Rows of a batch on their way through a layer, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    gates: Vec<f32>,
    ups: Vec<f32>,
    added: Vec<f32>,
}

impl Layer {
    pub(super) fn load(
        file: &mut Gguf,
        config: &Config,
        index: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let Config { width, hidden, heads, kv_heads, head_size, .. } = *config;
        let (queries, keys) = (heads * head_size, kv_heads * head_size);
        let mut linear = |file: &mut Gguf, name: &str, inputs, outputs| {
            let name = format!("blk.{index}.{name}.weight");
            Linear::load(file, &name, inputs, outputs, progress)
        };
        let query = linear(file, "attn_q", width, queries)?;
        let key = linear(file, "attn_k", width, keys)?;
        let value = linear(file, "attn_v", width, keys)?;
        let output = linear(file, "attn_output", queries, width)?;
        let gate = linear(file, "ffn_gate", width, hidden)?;
        let up = linear(file, "ffn_up", width, hidden)?;
        let down = linear(file, "ffn_down", hidden, width)?;

        let mut norm = |name: &str, length| {
            file.vector(&format!("blk.{index}.{name}.weight"), length, progress)
        };
        let more_norms = if config.more_norms {
            Some(MoreNorms {
                query: norm("attn_q_norm", head_size)?,
                key: norm("attn_k_norm", head_size)?,
                attention_output: norm("post_attention_norm", width)?,
                feed_output: norm("post_ffw_norm", width)?,
            })
        } else {
            None
        };
        Ok(Self {
            index,
            attention: Attention {
                heads,
                head_size,
                scale: config.attention_scale,
                window: config.window(index),
            },
            attention_norm: norm("attn_norm", width)?,
            feed_norm: norm("ffn_norm", width)?,
            query,
            key,
            value,
            output,
            gate,
            up,
            down,
            more_norms,
        })
    }

    /// Whether the layer looks at the latest tokens only.
    pub(super) fn is_local(&self) -> bool {
        self.attention.window.is_some()
    }

    /// Takes the rows of all chunks through the layer, and remembers their keys and values.
    pub(super) fn apply(
        &self,
        config: &Config,
        angles: &Angles,
        chunks: &[Chunk<'_>],
        caches: &mut [Cache],
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), EngineError> {
        self.attend(config, angles, chunks, caches, rows, scratch)?;
        self.feed_forward(config, rows, scratch)
    }

    fn attend(
        &self,
        config: &Config,
        angles: &Angles,
        chunks: &[Chunk<'_>],
        caches: &mut [Cache],
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), EngineError> {
        let Config { heads, kv_heads, head_size, norm_epsilon, .. } = *config;
        let Scratch { normed, queries, keys, values, attended, added, .. } = scratch;
        normed.clear();
        normed.extend_from_slice(rows);
        rms_norm(normed, &self.attention_norm, norm_epsilon);
        multiply(normed, [(&self.query, queries), (&self.key, keys), (&self.value, values)])?;
        if let Some(norms) = &self.more_norms {
            rms_norm(queries, &norms.query, norm_epsilon);
            rms_norm(keys, &norms.key, norm_epsilon);
        }
        angles.apply(queries, heads * head_size, head_size);
        angles.apply(keys, kv_heads * head_size, head_size);
        let visible = self.remember(chunks, caches, keys, values, head_size);
        self.attention.apply(queries, &visible, attended);
        multiply(attended, [(&self.output, added)])?;
        if let Some(norms) = &self.more_norms {
            rms_norm(added, &norms.attention_output, norm_epsilon);
        }
        add(rows, added);
        Ok(())
    }

    /// Gives each text the keys and values of its rows; returns what each row may look at.
    fn remember<'a>(
        &self,
        chunks: &[Chunk<'_>],
        caches: &'a mut [Cache],
        keys: &[f32],
        values: &[f32],
        head_size: usize,
    ) -> Vec<Visible<'a>> {
        let rows: usize = chunks.iter().map(|chunk| chunk.tokens.len()).sum();
        let width = keys.len() / rows;
        let mut start = 0;
        for Chunk { slot, tokens, .. } in chunks {
            let part = start * width..(start + tokens.len()) * width;
            let cache = caches[*slot].layer_mut(self.index);
            cache.push(&keys[part.clone()], &values[part], head_size);
            start += tokens.len();
        }
        let caches = &*caches;
        let visible = chunks.iter().flat_map(|Chunk { slot, tokens, .. }| {
            let cache = &caches[*slot];
            let before = cache.tokens().len();
            let look = move |row| Visible { cache: cache.layer(self.index), tokens: before + row };
            (1..=tokens.len()).map(look)
        });
        visible.collect()
    }

    fn feed_forward(
        &self,
        config: &Config,
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), EngineError> {
        let Scratch { normed, gates, ups, added, .. } = scratch;
        normed.clear();
        normed.extend_from_slice(rows);
        rms_norm(normed, &self.feed_norm, config.norm_epsilon);
        multiply(normed, [(&self.gate, gates), (&self.up, ups)])?;
        config.activation.gate(gates, ups);
        multiply(gates, [(&self.down, added)])?;
        if let Some(norms) = &self.more_norms {
            rms_norm(added, &norms.feed_output, config.norm_epsilon);
        }
        add(rows, added);
        Ok(())
    }
}
