//! Files that are no models of ours.

use std::fs;
use std::path::{Path, PathBuf};

use skep_engine::{DEFAULT_CONTEXT, Engine, EngineError};
use tempfile::TempDir;

use crate::model::{self, GEMMA3, SMOLLM2};

/// A GGUF header, version 3: no tensors, metadata of text values only.
fn gguf(metadata: &[(&str, &str)]) -> Vec<u8> {
    const TEXT: u32 = 8;
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut bytes, key);
        bytes.extend(TEXT.to_le_bytes());
        text(&mut bytes, value);
    }
    bytes
}

fn written(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

fn refused(path: &Path) -> EngineError {
    Engine::load(path, DEFAULT_CONTEXT, 1, &mut |_, _| {}).err().expect("the file is refused")
}

#[test]
fn another_architecture_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let error = refused(&written(&folder, &gguf(&[("general.architecture", "mamba")])));
    assert!(matches!(&error, EngineError::UnsupportedArchitecture { architecture, supported }
        if architecture == "mamba" && *supported == ["llama", "gemma3"]));
    assert_eq!(
        error.to_string(),
        "architecture `mamba` is not supported; the built-in engine runs llama, gemma3"
    );
}

#[test]
fn a_file_that_is_not_gguf_is_refused() {
    let folder = TempDir::new().unwrap();
    for bytes in [&b"<!DOCTYPE html>"[..], b"", b"GGU", b"GGUF\x09\0\0\0\0\0\0\0"] {
        let error = refused(&written(&folder, bytes));
        assert!(matches!(error, EngineError::InvalidFile { .. }), "{bytes:?}: {error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = refused(Path::new("nowhere.gguf"));
    assert!(
        matches!(error, EngineError::Read { .. }) && error.to_string().contains("nowhere.gguf")
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = fs::read(model::path(SMOLLM2)).unwrap();
    let folder = TempDir::new().unwrap();
    let header = [8, 23, 24, 40, 1000, 100_000, 1_500_000, 1_900_000];
    for length in header.into_iter().chain([whole.len() / 2, whole.len() - 1]) {
        let error = refused(&written(&folder, &whole[..length]));
        assert!(matches!(error, EngineError::InvalidFile { .. }), "{length}: {error}");
    }
}

#[test]
fn a_header_with_a_wrong_byte_is_never_a_panic() {
    let whole = fs::read(model::path(SMOLLM2)).unwrap();
    let folder = TempDir::new().unwrap();
    // The header, up to the vocabulary, with each byte of it set to the highest in turn.
    for at in 4..1400 {
        let mut bytes = whole[..20_000].to_vec();
        bytes[at] = 0xff;
        refused(&written(&folder, &bytes));
    }
}

#[test]
fn progress_ends_with_all_bytes() {
    let (mut last, mut total, mut calls) = (0, 0, 0);
    let engine = Engine::load(&model::path(GEMMA3), DEFAULT_CONTEXT, 1, &mut |done, all| {
        assert!(done >= last && done <= all);
        (last, total, calls) = (done, all, calls + 1);
    });
    assert!(calls > 100 && last == total);
    let info = engine.unwrap().info().clone();
    assert!(total <= info.bytes && total > info.bytes * 9 / 10);
    assert_eq!(
        (info.architecture.as_str(), info.name.as_deref()),
        ("gemma3", Some("Gemma 3 270m"))
    );
    assert_eq!((info.trained_context, info.context), (32768, DEFAULT_CONTEXT));
    assert_eq!((info.vocabulary, info.parameters / 1_000_000), (262_144, 268));
    assert!(!info.has_chat_template && info.threads >= 1);
}
