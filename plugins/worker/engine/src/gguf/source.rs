//! Reading a file of known length, never past its end.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::EngineError;

/// How much of a tensor is read at once, between two reports of progress.
const CHUNK: usize = 4 << 20;

/// A file that is read from its start on.
pub(super) struct Source {
    path: PathBuf,
    reader: BufReader<File>,
    position: u64,
    length: u64,
}

impl Source {
    pub(super) fn new(path: &Path, file: File, length: u64) -> Self {
        let reader = BufReader::with_capacity(1 << 16, file);
        Self { path: path.into(), reader, position: 0, length }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The error that says what is wrong with this file.
    pub(super) fn invalid(&self, detail: impl Into<String>) -> EngineError {
        EngineError::InvalidFile { path: self.path.clone(), detail: detail.into() }
    }

    /// Checks that `count` things of at least `size` bytes each can follow.
    pub(super) fn expect(&self, count: u64, size: u64, what: &str) -> Result<usize, EngineError> {
        let fits =
            count.checked_mul(size).is_some_and(|bytes| bytes <= self.length - self.position);
        match usize::try_from(count) {
            Ok(count) if fits => Ok(count),
            _ => Err(self.invalid(format!("it ends after {} bytes, inside {what}", self.length))),
        }
    }

    pub(super) fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0; self.expect(count, 1, what)?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], EngineError> {
        self.expect(N as u64, 1, what)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, EngineError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, EngineError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A string. Files in the wild have some that are not UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Result<String, EngineError> {
        let length = self.u64(what)?;
        let bytes = self.bytes(length, what)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Reads `count` bytes from `start` on; `progress` is told how many there are so far.
    pub(super) fn bytes_at(
        &mut self,
        start: u64,
        count: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<u8>, EngineError> {
        let unreadable = |source| EngineError::Read { path: self.path.clone(), source };
        self.reader.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        self.position = start;
        self.expect(count as u64, 1, "a tensor")?;
        let mut bytes = vec![0; count];
        let mut done = 0;
        for chunk in bytes.chunks_mut(CHUNK) {
            self.fill(chunk)?;
            done += chunk.len() as u64;
            progress(done);
        }
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EngineError> {
        self.reader
            .read_exact(bytes)
            .map_err(|source| EngineError::Read { path: self.path.clone(), source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
