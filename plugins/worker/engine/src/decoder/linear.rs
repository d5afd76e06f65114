//! Products with matrices of quantised weights.
//!
//! A weight is made a number, which takes little longer than reading it from memory, and all arithmetic
//! is that of `f32`. Before they meet weights of 4 bits, activations are rounded as ggml rounds them
//! (`Q8_1`), so that greedy texts are those of llama.cpp; before others they are left as they are.

mod block;
mod format;
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
    let coarse = matrices.iter().any(|(linear, _)| matches!(linear.weights, Weights::Nibbles(_)));
    let rounded = if coarse { round::to_bytes(rows) } else { Vec::new() };
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
            part.lock().unwrap_or_else(PoisonError::into_inner).compute(rows, &rounded);
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
        let lanes = numbers.iter().flat_map(row).flat_map(Block::unpack);
        lanes.flatten().collect()
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
    fn compute(&mut self, rows: &[f32], rounded: &[f32]) {
        match &self.linear.weights {
            Weights::Nibbles(blocks) => self.multiply(blocks, rounded),
            Weights::Bytes(blocks) => self.multiply(blocks, rows),
            Weights::HalfBytes(blocks) => self.multiply(blocks, rows),
            Weights::Other(_) => unreachable!("candle shares its work itself"),
        }
    }

    fn multiply<B: Block>(&mut self, blocks: &[B], rows: &[f32]) {
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
