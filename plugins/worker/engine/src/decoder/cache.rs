//! What the network remembers of a text: the keys and values of each token.

/// The tokens of one text that were read so far, with their keys and values in each layer.
///
/// Memory grows with the text, up to the limit, and is kept when tokens are forgotten.
pub(super) struct Cache {
    tokens: Vec<u32>,
    layers: Vec<LayerCache>,
    head_size: usize,
}

/// The keys and values of one layer.
pub(super) struct LayerCache {
    heads: Vec<HeadCache>,
    limit: usize,
}

/// The keys and values of one head, token after token, so that attention reads memory in order.
#[derive(Default)]
pub(super) struct HeadCache {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Cache {
    /// An empty cache for at most `limit` tokens.
    pub(super) fn new(layers: usize, heads: usize, head_size: usize, limit: usize) -> Self {
        let layer = || LayerCache {
            heads: (0..heads).map(|_| HeadCache::default()).collect(),
            limit: limit * head_size,
        };
        let layers = (0..layers).map(|_| layer()).collect();
        Self { tokens: Vec::new(), layers, head_size }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn layer(&self, index: usize) -> &LayerCache {
        &self.layers[index]
    }

    pub(super) fn layer_mut(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Remembers tokens whose keys and values each layer has pushed.
    pub(super) fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Forgets all but the first `length` tokens, and what a failed batch may have left.
    pub(super) fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        let kept = self.tokens.len() * self.head_size;
        for head in self.layers.iter_mut().flat_map(|layer| &mut layer.heads) {
            head.keys.truncate(kept);
            head.values.truncate(kept);
        }
    }
}

impl LayerCache {
    /// Remembers the keys and values of more tokens; a row has those of all heads.
    pub(super) fn push(&mut self, keys: &[f32], values: &[f32], head_size: usize) {
        let heads = self.heads.len();
        for (index, head) in self.heads.iter_mut().enumerate() {
            for (all, kept) in [(keys, &mut head.keys), (values, &mut head.values)] {
                reserve(kept, all.len() / heads, self.limit);
                for row in all.chunks_exact(heads * head_size) {
                    kept.extend_from_slice(&row[index * head_size..][..head_size]);
                }
            }
        }
    }

    pub(super) fn head(&self, index: usize) -> &HeadCache {
        &self.heads[index]
    }

    pub(super) fn heads(&self) -> usize {
        self.heads.len()
    }
}

/// Makes room for more numbers: twice as much as there is, but no more than the limit.
fn reserve(numbers: &mut Vec<f32>, more: usize, limit: usize) {
    let needed = numbers.len() + more;
    if needed > numbers.capacity() {
        let capacity = needed.max(limit.min(2 * needed));
        numbers.reserve_exact(capacity - numbers.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(cache: &mut Cache, token: u32, number: f32) {
        let row = [number, number, -number, -number];
        for layer in &mut cache.layers {
            layer.push(&row, &row, 2);
        }
        cache.push(&[token]);
    }

    #[test]
    fn each_head_gets_its_part_of_a_row() {
        let mut cache = Cache::new(1, 2, 2, 8);
        pushed(&mut cache, 7, 1.0);
        pushed(&mut cache, 8, 2.0);
        let layer = cache.layer(0);
        assert_eq!(layer.head(0).keys, [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(layer.head(1).values, [-1.0, -1.0, -2.0, -2.0]);
    }

    #[test]
    fn forgotten_tokens_leave_nothing() {
        let mut cache = Cache::new(2, 2, 2, 8);
        pushed(&mut cache, 7, 1.0);
        pushed(&mut cache, 8, 2.0);
        cache.truncate(1);
        assert_eq!(cache.tokens(), [7]);
        assert!(cache.layers.iter().all(|layer| layer.head(1).keys == [-1.0, -1.0]));
    }

    #[test]
    fn memory_stays_within_the_limit() {
        let mut cache = Cache::new(1, 2, 2, 100);
        (0..100).for_each(|token| pushed(&mut cache, token, 1.0));
        assert_eq!(cache.layer(0).head(0).keys.capacity(), 200);
    }
}
