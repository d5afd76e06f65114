//! The metadata of a GGUF file: typed values by name.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "writers put single precision into wider fields, and small numbers into lists"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::source::Source;
use crate::EngineError;

/// A metadata value. Integers and floats of all widths are one kind each: writers differ in them.
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Flag(bool),
    Text(String),
    Numbers(Vec<f32>),
    Texts(Vec<String>),
}

/// The numbers are those of `enum gguf_metadata_value_type`.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

impl Value {
    pub(super) fn read(source: &mut Source, key: &str) -> Result<Self, EngineError> {
        let kind = source.u32("a metadata value's type")?;
        match kind {
            TEXT => Ok(Self::Text(source.text(key)?)),
            ARRAY => Self::read_array(source, key),
            _ => Self::read_scalar(source, kind, key),
        }
    }

    fn read_array(source: &mut Source, key: &str) -> Result<Self, EngineError> {
        let kind = source.u32("an array's type")?;
        let length = source.u64("an array's length")?;
        if kind == TEXT {
            let length = source.expect(length, size_of::<u64>() as u64, key)?;
            let mut texts = Vec::with_capacity(length);
            for _ in 0..length {
                texts.push(source.text(key)?);
            }
            return Ok(Self::Texts(texts));
        }
        let length = source.expect(length, 1, key)?;
        let mut numbers = Vec::new();
        for _ in 0..length {
            numbers.push(match Self::read_scalar(source, kind, key)? {
                Self::Integer(number) => number as f32,
                Self::Float(number) => number as f32,
                Self::Flag(flag) => f32::from(u8::from(flag)),
                Self::Text(_) | Self::Numbers(_) | Self::Texts(_) => f32::NAN,
            });
        }
        Ok(Self::Numbers(numbers))
    }

    fn read_scalar(source: &mut Source, kind: u32, key: &str) -> Result<Self, EngineError> {
        Ok(match kind {
            0 => Self::Integer(u8::from_le_bytes(source.array(key)?).into()),
            1 => Self::Integer(i8::from_le_bytes(source.array(key)?).into()),
            2 => Self::Integer(u16::from_le_bytes(source.array(key)?).into()),
            3 => Self::Integer(i16::from_le_bytes(source.array(key)?).into()),
            4 => Self::Integer(u32::from_le_bytes(source.array(key)?).into()),
            5 => Self::Integer(i32::from_le_bytes(source.array(key)?).into()),
            6 => Self::Float(f32::from_le_bytes(source.array(key)?).into()),
            7 => Self::Flag(source.array::<1>(key)? != [0]),
            10 => Self::Integer(u64::from_le_bytes(source.array(key)?).into()),
            11 => Self::Integer(i64::from_le_bytes(source.array(key)?).into()),
            12 => Self::Float(f64::from_le_bytes(source.array(key)?)),
            _ => return Err(source.invalid(format!("`{key}` has values of the type {kind}"))),
        })
    }
}

/// The metadata of a file. What is looked up under a wrong type is an error, not absent.
pub(crate) struct Metadata {
    path: PathBuf,
    values: HashMap<String, Value>,
}

impl Metadata {
    pub(super) fn new(path: &Path, values: HashMap<String, Value>) -> Self {
        Self { path: path.into(), values }
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, EngineError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => match u64::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.wrong(key, "a number from 0 on")),
            },
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    /// A size: a whole number that is not 0.
    pub(crate) fn size(&self, key: &str) -> Result<usize, EngineError> {
        let number = self.number(key)?.ok_or_else(|| self.missing(key))?;
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(number as usize),
            _ => Err(self.wrong(key, "a size")),
        }
    }

    /// The id of a token.
    pub(crate) fn token(&self, key: &str) -> Result<Option<u32>, EngineError> {
        Ok(self.number(key)?.and_then(|id| u32::try_from(id).ok()))
    }

    /// A number with a fraction.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f32>, EngineError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number as f32)),
            Some(_) => Err(self.wrong(key, "a number with a fraction")),
        }
    }

    /// True or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, EngineError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// Takes a list of texts out of the metadata: a vocabulary is large.
    pub(crate) fn take_texts(&mut self, key: &str) -> Result<Option<Vec<String>>, EngineError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.wrong(key, "a list of texts")),
        }
    }

    /// Takes a list of numbers out of the metadata.
    pub(crate) fn take_numbers(&mut self, key: &str) -> Result<Option<Vec<f32>>, EngineError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Numbers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(self.wrong(key, "a list of numbers")),
        }
    }

    /// The error that a key is missing.
    pub(crate) fn missing(&self, key: &str) -> EngineError {
        self.invalid(format!("the metadata key `{key}` is missing"))
    }

    /// The error that says what is wrong with this file.
    pub(crate) fn invalid(&self, detail: String) -> EngineError {
        EngineError::InvalidFile { path: self.path.clone(), detail }
    }

    fn wrong(&self, key: &str, wanted: &str) -> EngineError {
        self.invalid(format!("the metadata key `{key}` is not {wanted}"))
    }
}
