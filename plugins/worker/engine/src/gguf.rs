//! The GGUF file format: a header of metadata, the list of tensors, their data.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Files come from strangers, so
//! nothing in one is believed: each length is compared with the bytes that are left before memory is
//! taken for it. Big-endian files and nested arrays are refused.

mod metadata;
mod source;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

use crate::EngineError;
pub(crate) use metadata::Metadata;
use metadata::Value;
use source::Source;

const MAGIC: &[u8] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_DIMENSIONS: u32 = 4;

/// An open GGUF file, its header read.
pub(crate) struct Gguf {
    pub(crate) metadata: Metadata,
    source: Source,
    /// Those that were not taken yet.
    tensors: HashMap<String, TensorInfo>,
    data_start: u64,
    loaded_bytes: u64,
    total_bytes: u64,
}

struct TensorInfo {
    /// The number of values in a row first, as the format has it.
    shape: Vec<u64>,
    kind: GgmlDType,
    offset: u64,
    values: u64,
    bytes: usize,
}

impl Gguf {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let unreadable = |source| EngineError::Read { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut source = Source::new(path, file, length);

        if source.bytes(4, "the magic number")? != MAGIC {
            return Err(source.invalid("it does not begin with the letters GGUF"));
        }
        let version = source.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(source.invalid(format!("its version is {version}, not 2 or 3")));
        }
        let tensor_count = source.u64("the number of tensors")?;
        let key_count = source.u64("the number of metadata keys")?;

        let mut values = HashMap::new();
        for _ in 0..key_count {
            let key = source.text("a metadata key")?;
            let value = Value::read(&mut source, &key)?;
            values.insert(key, value);
        }
        let metadata = Metadata::new(path, values);

        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let name = source.text("a tensor's name")?;
            let tensor = TensorInfo::read(&mut source, &name)?;
            tensors.insert(name, tensor);
        }

        let alignment = metadata.number("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
        let Some(data_start) = source.position().checked_next_multiple_of(alignment) else {
            return Err(source.invalid(format!("its alignment is {alignment}")));
        };
        for (name, tensor) in &tensors {
            let end = data_start.checked_add(tensor.offset);
            let end = end.and_then(|start| start.checked_add(tensor.bytes as u64));
            if end.is_none_or(|end| end > length) {
                return Err(source.invalid(format!("it ends inside the tensor `{name}`")));
            }
        }
        let total_bytes = tensors.values().map(|tensor| tensor.bytes as u64).sum();
        Ok(Self { metadata, source, tensors, data_start, loaded_bytes: 0, total_bytes })
    }

    /// The number of parameters in all tensors that were not taken yet.
    pub(crate) fn parameters(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.values).sum()
    }

    /// The file's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.source.length()
    }

    /// Whether the file has a tensor of that name, and it was not taken yet.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes a tensor out of the file: its format and its data. Its shape has to be the given one, the
    /// number of values in a row first.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(GgmlDType, Vec<u8>), EngineError> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(self.source.invalid(format!("the tensor `{name}` is missing")));
        };
        if !tensor.shape.iter().copied().eq(shape.iter().map(|&size| size as u64)) {
            let found = &tensor.shape;
            let detail = format!("the tensor `{name}` has the shape {found:?}, not {shape:?}");
            return Err(self.source.invalid(detail));
        }
        let (loaded, total) = (self.loaded_bytes, self.total_bytes);
        let data =
            self.source.bytes_at(self.data_start + tensor.offset, tensor.bytes, &mut |bytes| {
                progress(loaded + bytes, total);
            })?;
        self.loaded_bytes += tensor.bytes as u64;
        Ok((tensor.kind, data))
    }

    /// Takes a tensor of one dimension out of the file, as numbers.
    pub(crate) fn vector(
        &mut self,
        name: &str,
        length: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<f32>, EngineError> {
        let (kind, data) = self.tensor(name, &[length], progress)?;
        match kind.from_data(Cow::Owned(data)).dequantize(length)? {
            CpuStorage::F32(values) => Ok(values),
            _ => {
                Err(self.source.invalid(format!("the tensor `{name}` is not a vector of numbers")))
            }
        }
    }

    /// Checks that each tensor was taken: one that is left over is a part of the network that would
    /// not be computed.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        match self.tensors.into_keys().min() {
            None => Ok(()),
            Some(name) => {
                Err(EngineError::UnsupportedModel { detail: format!("the tensor `{name}`") })
            }
        }
    }
}

impl TensorInfo {
    fn read(source: &mut Source, name: &str) -> Result<Self, EngineError> {
        let dimensions = source.u32("a tensor's dimensions")?;
        if dimensions > MAX_DIMENSIONS {
            let detail = format!("the tensor `{name}` has {dimensions} dimensions");
            return Err(source.invalid(detail));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(source.u64("a tensor's shape")?);
        }
        let kind = tensor_kind(name, source.u32("a tensor's type")?)?;
        let offset = source.u64("a tensor's offset")?;

        let values = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
        let block = kind.block_size() as u64;
        let whole = shape.first().is_none_or(|row| row.is_multiple_of(block));
        let bytes = values
            .filter(|_| whole)
            .and_then(|values| (values / block).checked_mul(kind.type_size() as u64))
            .and_then(|bytes| usize::try_from(bytes).ok());
        let (Some(values), Some(bytes)) = (values, bytes) else {
            let detail = format!("the tensor `{name}` has the shape {shape:?} in {kind:?}");
            return Err(source.invalid(detail));
        };
        Ok(Self { shape, kind, offset, values, bytes })
    }
}

/// The numbers are those of `enum ggml_type`.
fn tensor_kind(name: &str, number: u32) -> Result<GgmlDType, EngineError> {
    Ok(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => {
            let detail = format!(
                "the tensor `{name}` is quantised by ggml's type {number}; \
                 F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are known"
            );
            return Err(EngineError::UnsupportedModel { detail });
        }
    })
}
