//! A product with a matrix of quantised weights.

use candle_core::CpuStorage;
use candle_core::quantized::QuantizedType;

use crate::EngineError;
use crate::gguf::Gguf;

/// A matrix, or a table of rows.
pub(super) struct Linear {
    weights: Box<dyn QuantizedType>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(super) fn load(
        file: &mut Gguf,
        name: &str,
        inputs: usize,
        outputs: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let weights = file.tensor(name, &[inputs, outputs], progress)?;
        Ok(Self { weights, inputs, outputs })
    }

    /// Multiplies each row of `rows`; `products` is overwritten.
    pub(super) fn apply(&self, rows: &[f32], products: &mut Vec<f32>) -> Result<(), EngineError> {
        let count = rows.len() / self.inputs;
        products.resize(count * self.outputs, 0.0);
        Ok(self.weights.matmul_t((count, self.inputs, self.outputs), rows, products)?)
    }

    /// Rows of the table, by their numbers.
    pub(super) fn rows(&self, numbers: &[u32]) -> Result<Vec<f32>, EngineError> {
        match self.weights.embedding(numbers, self.outputs, self.inputs)? {
            CpuStorage::F32(rows) => Ok(rows),
            _ => Err(candle_core::Error::msg("an embedding is not of f32").into()),
        }
    }
}
