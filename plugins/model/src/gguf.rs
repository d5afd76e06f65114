//! What the header of a GGUF file says.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. The file is a
//! stranger's. Every length is held against the file's size before anything is read or allocated,
//! what isn't needed is passed over, and the header as a whole has a limit.

mod tensor;

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind};

/// What every file begins with.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// The longest header that is read. The largest vocabularies take some 20 MB.
const MAX_HEADER: u64 = 128 << 20;

/// The most metadata keys; models have less than a hundred.
const MAX_KEYS: u64 = 10_000;

/// The longest key, as the format has it.
const MAX_KEY: u64 = 65_535;

/// The longest text that is kept.
const MAX_TEXT: u64 = 1024;

/// The deepest array; those of models have a depth of 1.
const MAX_DEPTH: u32 = 3;

/// The most dimensions of a tensor, `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;

/// The least that a metadata pair takes: a key's length, a type, a byte.
const SMALLEST_PAIR: u64 = 8 + 4 + 1;

/// The least that a tensor's description takes: a name's length, no dimensions, a type, an offset.
const SMALLEST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// What is known of a model by its file's header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `general.architecture`: `llama`, `gemma3`.
    pub(crate) architecture: String,
    /// `general.name`.
    pub(crate) name: Option<String>,
    /// How the weights are stored, by `general.file_type`: `Q4_K_M`.
    pub(crate) quantisation: Option<String>,
    /// The most tokens that the model was trained for.
    pub(crate) context_length: Option<u64>,
    /// How many numbers are kept of each token of a text: keys and values, of all layers.
    pub(crate) kv_size: Option<u64>,
    /// The number of weights.
    pub(crate) parameters: u64,
}

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GgufError {
    #[error("it is not a GGUF file")]
    NotGguf,
    #[error("it is a GGUF file for big-endian machines, which is not supported")]
    BigEndian,
    #[error("it is GGUF version {0}; versions 2 and 3 are supported")]
    Version(u32),
    #[error("it ends too early, perhaps a download was cut off")]
    Truncated,
    #[error("its header is malformed: {0}")]
    Malformed(String),
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
}

use GgufError::{BigEndian, Malformed, NotGguf, Truncated, Version};

/// Reads the header of a file of `size` bytes.
pub(crate) fn read(file: impl BufRead, size: u64) -> Result<Header, GgufError> {
    let mut reader = Reader { file, at: 0, size };
    if size < 4 || reader.bytes()? != MAGIC {
        return Err(NotGguf);
    }
    match reader.u32()? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => return Err(BigEndian),
        version => return Err(Version(version)),
    }
    let tensors = reader.u64()?;
    let keys = reader.u64()?;
    if keys > MAX_KEYS {
        return Err(Malformed(format!("it claims to have {keys} metadata keys")));
    }
    reader.expect_more(keys, SMALLEST_PAIR)?;
    let metadata = reader.metadata(keys)?;
    let architecture = match metadata.get("general.architecture") {
        Some(Value::Text(architecture)) if !architecture.is_empty() => architecture.clone(),
        _ => return Err(Malformed("`general.architecture` is missing".to_owned())),
    };
    let parameters = reader.tensors(tensors, &metadata)?;
    let text = |key| match metadata.get(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let integer = |key: &str| match metadata.get(key) {
        Some(Value::Integer(integer)) => Some(*integer),
        _ => None,
    };
    Ok(Header {
        name: text("general.name"),
        quantisation: integer("general.file_type").map(quantisation),
        context_length: integer(&format!("{architecture}.context_length")),
        kv_size: kv_size(|key| integer(&format!("{architecture}.{key}"))),
        parameters,
        architecture,
    })
}

/// What the metadata keys end with that are kept, beside those of `general`.
const KEPT: [&str; 7] = [
    ".context_length",
    ".block_count",
    ".embedding_length",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.value_length",
];

/// How many numbers are kept of each token; `None` if the file doesn't tell, or tells nonsense.
fn kv_size(integer: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let heads = integer("attention.head_count")?;
    // A list, where layers differ, isn't read: then it's as much as it can be.
    let kv_heads = integer("attention.head_count_kv").unwrap_or(heads);
    let head = || integer("embedding_length")?.checked_div(heads);
    let key = integer("attention.key_length").or_else(head)?;
    let value = integer("attention.value_length").or_else(head)?;
    let layer = kv_heads.checked_mul(key.checked_add(value)?)?;
    integer("block_count")?.checked_mul(layer)
}

/// A metadata value, as far as it's kept.
#[derive(Debug)]
enum Value {
    Integer(u64),
    Text(String),
    PassedOver,
}

struct Reader<R> {
    file: R,
    /// How much was read.
    at: u64,
    size: u64,
}

impl<R: BufRead> Reader<R> {
    fn metadata(&mut self, keys: u64) -> Result<HashMap<String, Value>, GgufError> {
        let mut metadata = HashMap::new();
        for _ in 0..keys {
            let length = self.u64()?;
            if length > MAX_KEY {
                return Err(Malformed(format!("a metadata key claims to have {length} bytes")));
            }
            let key = self.text(length)?;
            let kind = self.u32()?;
            let value = self.value(kind, 0)?;
            if key.starts_with("general.") || KEPT.iter().any(|end| key.ends_with(end)) {
                metadata.insert(key, value);
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, GgufError> {
        match kind {
            4 => Ok(Value::Integer(self.u32()?.into())),
            10 => Ok(Value::Integer(self.u64()?)),
            8 => {
                let length = self.u64()?;
                if length > MAX_TEXT {
                    self.pass_over(length)?;
                    return Ok(Value::PassedOver);
                }
                Ok(Value::Text(self.text(length)?))
            }
            9 => {
                self.array(depth)?;
                Ok(Value::PassedOver)
            }
            kind => {
                self.pass_over(scalar_size(kind)?)?;
                Ok(Value::PassedOver)
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), GgufError> {
        if depth == MAX_DEPTH {
            return Err(Malformed("its arrays are nested too deeply".to_owned()));
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        match kind {
            8 | 9 => {
                self.expect_more(count, 8)?;
                for _ in 0..count {
                    if kind == 9 {
                        self.array(depth + 1)?;
                    } else {
                        let length = self.u64()?;
                        self.pass_over(length)?;
                    }
                }
                Ok(())
            }
            kind => {
                let bytes = count.checked_mul(scalar_size(kind)?).ok_or(Truncated)?;
                self.pass_over(bytes)
            }
        }
    }

    /// Reads the tensors' descriptions; returns how many weights they have together.
    fn tensors(&mut self, count: u64, metadata: &HashMap<String, Value>) -> Result<u64, GgufError> {
        if count == 0 {
            return Err(Malformed("it has no weights".to_owned()));
        }
        self.expect_more(count, SMALLEST_TENSOR)?;
        let too_large = || Malformed("a tensor has impossible dimensions".to_owned());
        let mut parameters = 0_u64;
        let mut last = 0;
        for _ in 0..count {
            let length = self.u64()?;
            self.pass_over(length)?;
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err(Malformed(format!("a tensor claims to have {dimensions} dimensions")));
            }
            let mut weights = 1_u64;
            for _ in 0..dimensions {
                weights = weights.checked_mul(self.u64()?).ok_or_else(too_large)?;
            }
            parameters = parameters.checked_add(weights).ok_or_else(too_large)?;
            // Of a type that isn't known it's known where it begins.
            let bytes = tensor::size(self.u32()?, weights).unwrap_or(1);
            let end = self.u64()?.checked_add(bytes).ok_or(Truncated)?;
            last = end.max(last);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Integer(alignment)) if alignment.is_power_of_two() => *alignment,
            Some(_) => return Err(Malformed("`general.alignment` is unusable".to_owned())),
            None => 32,
        };
        let data = self.at.checked_next_multiple_of(alignment);
        match data.and_then(|data| data.checked_add(last)) {
            Some(end) if end <= self.size => Ok(parameters),
            _ => Err(Truncated),
        }
    }

    /// Fails if the file can't hold `count` things of at least `smallest` bytes.
    fn expect_more(&self, count: u64, smallest: u64) -> Result<(), GgufError> {
        match count.checked_mul(smallest) {
            Some(bytes) if bytes <= self.size - self.at => Ok(()),
            _ => Err(Truncated),
        }
    }

    /// Claims the next `bytes` of the file.
    fn advance(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.expect_more(bytes, 1)?;
        self.at += bytes;
        if self.at > MAX_HEADER {
            return Err(Malformed(format!("it is longer than {} MiB", MAX_HEADER >> 20)));
        }
        Ok(())
    }

    fn pass_over(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.advance(bytes)?;
        let mut left = bytes;
        while left > 0 {
            let ready = self.file.fill_buf()?.len();
            if ready == 0 {
                return Err(Truncated);
            }
            let taken = ready.min(usize::try_from(left).unwrap_or(ready));
            self.file.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<String, GgufError> {
        self.advance(length)?;
        // Callers have bounded it.
        let mut text = vec![0; usize::try_from(length).map_err(|_| Truncated)?];
        self.file.read_exact(&mut text).map_err(truncated)?;
        String::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8".to_owned()))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(truncated)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }
}

/// A file that shrinks while it's read ends early, too.
fn truncated(error: io::Error) -> GgufError {
    if error.kind() == ErrorKind::UnexpectedEof { Truncated } else { error.into() }
}

fn scalar_size(kind: u32) -> Result<u64, GgufError> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(Malformed(format!("a metadata value has the unknown type {kind}"))),
    }
}

/// The name of a `general.file_type`: llama.cpp's `enum llama_ftype`.
fn quantisation(file_type: u64) -> String {
    // 1024 says that the type was guessed.
    let name = match file_type & !1024 {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        other => return format!("file type {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
