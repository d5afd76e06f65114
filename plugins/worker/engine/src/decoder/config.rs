//! What differs between architectures and between models of one.

use super::math::Activation;
use super::rope::Pairs;
use crate::EngineError;
use crate::gguf::Metadata;

/// The values of `general.architecture` that are computed here.
const SUPPORTED_ARCHITECTURES: &[&str] = &["llama", "gemma3"];

/// Every how many layers one looks at the whole text, where the file doesn't say.
const GEMMA3_PATTERN: u64 = 6;
const GEMMA3_LOCAL_ROPE_BASE: f32 = 10_000.0;
/// The one size of Gemma 3 (27B) whose attention is scaled by another rule has so many layers.
const GEMMA3_27B_LAYERS: usize = 62;

/// The sizes and rules of a network.
pub(crate) struct Config {
    pub(crate) architecture: &'static str,
    pub(super) layers: usize,
    /// Values in a row between layers.
    pub(super) width: usize,
    /// Values in a row inside the feed-forward part.
    pub(super) hidden: usize,
    pub(super) heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries.
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    /// The most tokens that the model was trained to keep apart.
    pub(crate) trained_context: usize,
    pub(super) norm_epsilon: f32,
    pub(super) activation: Activation,
    /// Whether queries, keys, and what a layer adds are normalised too, as in Gemma 3.
    pub(super) more_norms: bool,
    pub(super) embedding_scale: f32,
    pub(super) attention_scale: f32,
    pub(super) score_cap: Option<f32>,
    pub(super) rope_pairs: Pairs,
    /// How many values of a head are turned.
    pub(super) rope_size: usize,
    pub(super) rope_base: f32,
    pub(super) rope_scale: f32,
    pub(super) local: Option<Local>,
}

/// Layers that look at the latest tokens only.
pub(super) struct Local {
    /// How many tokens, the present one included.
    pub(super) window: usize,
    /// Every so many layers one looks at the whole text.
    pub(super) pattern: usize,
    pub(super) rope_base: f32,
}

impl Config {
    /// Reads them from a file's metadata.
    pub(crate) fn new(metadata: &Metadata) -> Result<Self, EngineError> {
        let name = metadata.text("general.architecture")?.unwrap_or_default();
        let Some(&architecture) = SUPPORTED_ARCHITECTURES.iter().find(|known| **known == name)
        else {
            return Err(EngineError::UnsupportedArchitecture {
                architecture: name.into(),
                supported: SUPPORTED_ARCHITECTURES,
            });
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let size = |name: &str| metadata.size(&key(name));
        let size_or = |name: &str, default: usize| match metadata.number(&key(name))? {
            Some(_) => size(name),
            None => Ok(default),
        };
        let float = |name: &str| metadata.float(&key(name));

        let (layers, width, heads) =
            (size("block_count")?, size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = size_or("attention.head_count_kv", heads)?;
        let head_size = size_or("attention.key_length", width / heads)?;
        let rope_size = size_or("rope.dimension_count", head_size)?;
        if !heads.is_multiple_of(kv_heads)
            || size_or("attention.value_length", head_size)? != head_size
            || rope_size > head_size
            || !rope_size.is_multiple_of(2)
        {
            let detail = format!(
                "{heads} heads on {kv_heads} of keys, of {head_size} values, {rope_size} turned"
            );
            return Err(EngineError::UnsupportedModel { detail });
        }
        if metadata.number(&key("expert_count"))?.unwrap_or(0) > 0 {
            return Err(EngineError::UnsupportedModel { detail: "a mixture of experts".into() });
        }

        let mut config = Self {
            architecture,
            layers,
            width,
            hidden: size("feed_forward_length")?,
            heads,
            kv_heads,
            head_size,
            trained_context: size("context_length")?,
            norm_epsilon: float("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| metadata.missing(&key("attention.layer_norm_rms_epsilon")))?,
            activation: Activation::Silu,
            more_norms: false,
            embedding_scale: 1.0,
            attention_scale: 1.0 / root(head_size),
            score_cap: float("final_logit_softcapping")?,
            rope_pairs: Pairs::Adjacent,
            rope_size,
            rope_base: float("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scale: rope_scale(metadata, architecture)?,
            local: None,
        };
        if architecture == "gemma3" {
            config.activation = Activation::Gelu;
            config.more_norms = true;
            config.embedding_scale = root(width);
            config.rope_pairs = Pairs::Halves;
            if layers == GEMMA3_27B_LAYERS {
                config.attention_scale = 1.0 / root(width / heads);
            }
            let pattern = metadata.number(&key("attention.sliding_window_pattern"))?;
            config.local = Some(Local {
                window: size("attention.sliding_window")?,
                pattern: usize::try_from(pattern.unwrap_or(GEMMA3_PATTERN)).unwrap_or(usize::MAX),
                rope_base: float("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_ROPE_BASE),
            });
        }
        Ok(config)
    }

    /// How many of the latest tokens a layer looks at; `None` is all.
    pub(super) fn window(&self, layer: usize) -> Option<usize> {
        let local = self.local.as_ref()?;
        (!(layer + 1).is_multiple_of(local.pattern)).then_some(local.window)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
fn root(size: usize) -> f32 {
    (size as f32).sqrt()
}

/// What positions are multiplied by, for a context that was stretched.
fn rope_scale(metadata: &Metadata, architecture: &str) -> Result<f32, EngineError> {
    let kind = metadata.text(&format!("{architecture}.rope.scaling.type"))?;
    let factor = metadata.float(&format!("{architecture}.rope.scaling.factor"))?;
    match kind {
        None | Some("none") => Ok(1.0),
        Some("linear") => Ok(1.0 / factor.filter(|factor| *factor > 0.0).unwrap_or(1.0)),
        Some(kind) => {
            Err(EngineError::UnsupportedModel { detail: format!("`{kind}` rope scaling") })
        }
    }
}
