//! Attention: each token looks at those before it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::utils::barrier_pool;

use super::cache::LayerCache;
use super::math::{add_scaled, dot, softmax};

/// Below so many multiplications, waking other threads costs more than they save.
const WORTH_SHARING: usize = 1 << 16;

/// How a layer's tokens look at each other.
pub(super) struct Attention {
    pub(super) heads: usize,
    pub(super) head_size: usize,
    pub(super) scale: f32,
    /// How many of the latest tokens are looked at, the present one included; `None` is all.
    pub(super) window: Option<usize>,
}

/// What a token may look at: so many of the first tokens of its text, itself included.
#[derive(Clone, Copy)]
pub(super) struct Visible<'a> {
    pub(super) cache: &'a LayerCache,
    pub(super) tokens: usize,
}

impl Attention {
    /// For each head of each query, the sum of the values weighted by how well their keys fit. There is
    /// one of `visible` for each row of queries.
    pub(super) fn apply(&self, queries: &[f32], visible: &[Visible<'_>], sums: &mut Vec<f32>) {
        sums.resize(queries.len(), 0.0);
        let most = visible.iter().map(|visible| visible.tokens).max().unwrap_or_default();
        let all: usize = visible.iter().map(|visible| visible.tokens).sum();

        // Each part is written by one thread; the locks tell the compiler so, and are never
        // waited for.
        let parts: Vec<_> = sums.chunks_exact_mut(self.head_size).map(Mutex::new).collect();
        let work = |range: Range<usize>| {
            let mut weights = Vec::with_capacity(most);
            for index in range {
                let (row, head) = (index / self.heads, index % self.heads);
                let Visible { cache, tokens: end } = visible[row];
                let start = self.window.map_or(0, |window| end.saturating_sub(window));
                let span = start * self.head_size..end * self.head_size;
                let memory = cache.head(head * cache.heads() / self.heads);
                let query = &queries[index * self.head_size..][..self.head_size];
                let mut sum = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
                let (keys, values) = (&memory.keys[span.clone()], &memory.values[span]);
                self.attend(query, keys, values, &mut weights, &mut sum);
            }
        };
        if all * self.heads * self.head_size < WORTH_SHARING {
            work(0..parts.len());
        } else {
            barrier_pool().execute_chunked(parts.len(), work);
        }
    }

    fn attend(
        &self,
        query: &[f32],
        keys: &[f32],
        values: &[f32],
        weights: &mut Vec<f32>,
        sum: &mut [f32],
    ) {
        weights.clear();
        let keys = keys.chunks_exact(self.head_size);
        weights.extend(keys.map(|key| dot(query, key) * self.scale));
        softmax(weights);
        sum.fill(0.0);
        for (value, &weight) in values.chunks_exact(self.head_size).zip(weights.iter()) {
            add_scaled(sum, weight, value);
        }
    }
}
