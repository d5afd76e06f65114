//! The models of these tests. `./x models` gets them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use skep_engine::{DEFAULT_CONTEXT, Engine, Generation, Prompt, Request, Sampling};

/// An instruction-tuned model of the architecture `llama`, with a vocabulary of byte pairs.
pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// A base model of the architecture `gemma3`, with a vocabulary of scores.
pub(crate) const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

/// Where a model is. A test that lacks its model fails: one that passes has seen it.
pub(crate) fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("SKEP_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/models"),
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run `./x models`", path.display());
    path
}

pub(crate) fn load(name: &str) -> Engine {
    Engine::load(&path(name), DEFAULT_CONTEXT, 1, &mut |_, _| {}).unwrap()
}

/// A request for some tokens after a raw prompt, always the likeliest.
pub(crate) fn greedy(prompt: &str, max_tokens: usize) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        ..Request::new(Prompt::Text(prompt.into()))
    }
}

pub(crate) fn generate(engine: &mut Engine, request: &Request) -> Generation {
    engine.generate(request, &mut |_| ControlFlow::Continue(())).unwrap()
}
