//! Products with matrices of quantised weights.
//!
//! Activations are rounded to whole numbers, as weights are, and a block's products and their sum are
//! exact; only then does it become a number of `f32`. Before they meet weights of 4 bits, activations are
//! rounded as ggml rounds them (`Q8_1`), so that greedy texts are those of llama.cpp; before others
//! they keep 16 bits, which is next to all of them.

mod block;
mod format;
mod lanes;
mod round;
mod tile;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use candle_core::CpuStorage;
use candle_core::quantized::{GgmlDType, QuantizedType};
use candle_core::utils::barrier_pool;

use crate::EngineError;
use crate::gguf::Gguf;
use block::{BLOCK, Block, Bytes, HalfBytes, Nibbles};
use round::{Precision, Rounded};

/// Parts of a matrix for each thread: one that is held up leaves some of its own to others.
const PARTS_PER_THREAD: usize = 4;

/// A matrix, or a table of rows.
pub(super) struct Linear {
    weights: Weights,
    inputs: usize,
    outputs: usize,
}

/// Weights, row after row.
enum Weights {
    Nibbles(Vec<Nibbles>),
    Bytes(Vec<Bytes>),
    HalfBytes(Vec<HalfBytes>),
    /// Rarer formats. Candle multiplies them; it rounds activations to 8 bits for most, and takes
    /// longer.
    Other(Box<dyn QuantizedType>),
}

/// Some rows of a matrix, and where their products go: a column for each row of activations.
struct Part<'a> {
    linear: &'a Linear,
    start: usize,
    columns: Vec<&'a mut [f32]>,
}

/// Multiplies each row of `rows` with some matrices. What they are paired with is overwritten.
///
/// It is all one piece of work for the threads, which wait for each other once.
pub(super) fn multiply<const N: usize>(
    rows: &[f32],
    matrices: [(&Linear, &mut Vec<f32>); N],
) -> Result<(), EngineError> {
    let rounded = |precision: Precision| {
        let is_used = matrices.iter().any(|(linear, _)| linear.precision() == Some(precision));
        if is_used { precision.round(rows) } else { Vec::new() }
    };
    let (bytes, words) = (rounded(Precision::Bytes), rounded(Precision::Words));
    let mut parts = Vec::new();
    for (linear, products) in matrices {
        let count = rows.len() / linear.inputs;
        products.resize(count * linear.outputs, 0.0);
        match &linear.weights {
            Weights::Other(weights) => {
                weights.matmul_t((count, linear.inputs, linear.outputs), rows, products)?;
            }
            _ => linear.share(products, &mut parts),
        }
    }
    // Each part is taken by one thread; the locks tell the compiler so, and are never waited for.
    barrier_pool().execute_chunked(parts.len(), |range| {
        for part in &parts[range] {
            part.lock().unwrap_or_else(PoisonError::into_inner).compute(&bytes, &words);
        }
    });
    Ok(())
}

impl Linear {
    pub(super) fn load(
        file: &mut Gguf,
        name: &str,
        inputs: usize,
        outputs: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let (kind, data) = file.tensor(name, &[inputs, outputs], progress)?;
        Ok(Self { weights: Weights::new(kind, data, inputs / BLOCK), inputs, outputs })
    }

    /// How far activations are rounded before they meet the weights; `None` if candle sees to that.
    fn precision(&self) -> Option<Precision> {
        match &self.weights {
            Weights::Nibbles(_) => Some(Precision::Bytes),
            Weights::Bytes(_) | Weights::HalfBytes(_) => Some(Precision::Words),
            Weights::Other(_) => None,
        }
    }

    /// Rows of the table, by their numbers.
    pub(super) fn rows(&self, numbers: &[u32]) -> Result<Vec<f32>, EngineError> {
        match &self.weights {
            Weights::Nibbles(blocks) => Ok(self.unpacked(blocks, numbers)),
            Weights::Bytes(blocks) => Ok(self.unpacked(blocks, numbers)),
            Weights::HalfBytes(blocks) => Ok(self.unpacked(blocks, numbers)),
            Weights::Other(weights) => {
                match weights.embedding(numbers, self.outputs, self.inputs)? {
                    CpuStorage::F32(rows) => Ok(rows),
                    _ => Err(candle_core::Error::msg("an embedding is not of f32").into()),
                }
            }
        }
    }

    fn unpacked<B: Block>(&self, blocks: &[B], numbers: &[u32]) -> Vec<f32> {
        let length = self.inputs / BLOCK;
        let row = |&number: &u32| &blocks[number as usize * length..][..length];
        numbers.iter().flat_map(row).flat_map(Block::weights).collect()
    }

    /// Cuts the matrix into parts.
    fn share<'a>(&'a self, products: &'a mut [f32], parts: &mut Vec<Mutex<Part<'a>>>) {
        let threads = barrier_pool().n_workers() + 1;
        let length = self.outputs.div_ceil(threads * PARTS_PER_THREAD);
        let length = length.next_multiple_of(tile::WEIGHTS);
        let first = parts.len();
        for row in products.chunks_exact_mut(self.outputs) {
            for (index, column) in row.chunks_mut(length).enumerate() {
                match parts.get_mut(first + index) {
                    Some(part) => {
                        let part: &mut Part<'a> =
                            part.get_mut().unwrap_or_else(PoisonError::into_inner);
                        part.columns.push(column);
                    }
                    None => parts.push(Mutex::new(Part {
                        linear: self,
                        start: index * length,
                        columns: vec![column],
                    })),
                }
            }
        }
    }
}

impl Part<'_> {
    /// `bytes` and `words` are the rows as they are rounded to them, if some matrix wants that.
    fn compute(&mut self, bytes: &[Rounded], words: &[Rounded]) {
        match &self.linear.weights {
            Weights::Nibbles(blocks) => self.multiply(blocks, bytes),
            Weights::Bytes(blocks) => self.multiply(blocks, words),
            Weights::HalfBytes(blocks) => self.multiply(blocks, words),
            Weights::Other(_) => unreachable!("candle shares its work itself"),
        }
    }

    fn multiply<B: Block>(&mut self, blocks: &[B], rows: &[Rounded]) {
        let length = self.linear.inputs / BLOCK;
        let count = self.columns[0].len().next_multiple_of(tile::WEIGHTS);
        let blocks = &blocks[self.start * length..][..count * length];
        tile::multiply(blocks, length, rows, &mut self.columns);
    }
}

impl Weights {
    /// Takes rows of so many blocks in a format of GGUF.
    fn new(kind: GgmlDType, data: Vec<u8>, length: usize) -> Self {
        match kind {
            GgmlDType::Q4_0 => Self::Nibbles(whole(format::q4_0(&data), length)),
            GgmlDType::Q4_1 => Self::Nibbles(whole(format::q4_1(&data), length)),
            GgmlDType::Q4K => Self::Nibbles(whole(format::q4_k(&data), length)),
            GgmlDType::Q5_0 => Self::Bytes(whole(format::q5_0(&data), length)),
            GgmlDType::Q8_0 => Self::Bytes(whole(format::q8_0(&data), length)),
            GgmlDType::Q6K => Self::HalfBytes(whole(format::q6_k(&data), length)),
            _ => Self::Other(kind.from_data(Cow::Owned(data))),
        }
    }
}

/// Adds rows of whatever kind until there are enough to be taken together.
fn whole<B: Block>(mut blocks: Vec<B>, length: usize) -> Vec<B> {
    let target = blocks.len().next_multiple_of(tile::WEIGHTS * length);
    blocks.reserve_exact(target - blocks.len());
    while blocks.len() < target {
        blocks.push(blocks[0]);
    }
    blocks
}
