//! How fast a language model answers, from a request over HTTP to the tokens as they come to the client.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Result;
use crate::contender::{Contender, Place, Running};
use crate::rounds::Sample;

/// What the model goes on from: a raw text, so that no chat template is between.
const PROMPT: &str = "Once upon a time, there was";

/// Begins in another way, so that nothing of [`PROMPT`] is computed before it's measured.
const WARM_UP: &str = "The capital of France is";

/// A model of the tests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Model {
    Smollm2,
    Gemma3,
}

impl Model {
    pub(crate) fn path(self, place: &Place) -> PathBuf {
        place.models.join(match self {
            Self::Smollm2 => "SmolLM2-135M-Instruct.Q4_1.gguf",
            Self::Gemma3 => "gemma-3-270m-q4_k_m.gguf",
        })
    }
}

/// One text of so many tokens, of a model that is loaded.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    model: Model,
    tokens: u64,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let at = if let Contender::LlamaCpp(_) = contender {
        "/v1/completions"
    } else {
        let import = json!({ "path": model.path(place), "id": "bench" }).to_string().into();
        let mut connection = running.connect().await?;
        connection.call("/v1/operations/model_import", &import).await?.rest().await?;
        "/v1/operations/infer"
    };
    generate(&running, at, WARM_UP, 8).await?;
    let begun = Instant::now();
    let pieces = generate(&running, at, PROMPT, tokens).await?;
    let ended = Instant::now();
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
        return Err("a text without a token".into());
    };
    let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
    Ok(vec![
        ("tokens/s, first to last", (tokens - 1) as f64 / seconds(*first, *last)),
        ("tokens/s, request to end", tokens as f64 / seconds(begun, ended)),
        ("ms to the first token", seconds(begun, *first) * 1000.0),
    ])
}

/// When each piece of a text came, most of them a token.
async fn generate(
    running: &Running,
    at: &'static str,
    prompt: &str,
    tokens: u64,
) -> Result<Vec<Instant>> {
    // Both servers take the same, greedy.
    let request = json!({
        "model": "bench", "prompt": prompt, "temperature": 0, "seed": 1, "max_tokens": tokens, "stream": true,
    });
    // A connection of its own, as llama.cpp closes it after its answer.
    let mut connection = running.connect().await?;
    let mut events = connection.call(at, &Bytes::from(request.to_string())).await?;
    let (mut pieces, mut came, mut usage) = (Vec::new(), Vec::new(), None);
    while let Some(bytes) = events.next().await? {
        came.extend_from_slice(&bytes);
        while let Some(end) = came.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = came.drain(..end + 2).collect();
            // llama.cpp ends by a word that isn't JSON.
            let Some(data) = data(&event) else { continue };
            let text = data.pointer("/text").or_else(|| data.pointer("/choices/0/text"));
            if text.and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
                pieces.push(Instant::now());
            }
            let end = data.pointer("/result/usage").or_else(|| data.pointer("/usage"));
            usage = end.cloned().or(usage);
        }
    }
    let usage = usage.ok_or("a text without an end")?;
    if usage["completion_tokens"] != tokens {
        return Err(format!("a text of {tokens} tokens took {usage}").into());
    }
    Ok(pieces)
}

fn data(event: &[u8]) -> Option<Value> {
    let mut lines = event.split(|byte| *byte == b'\n');
    serde_json::from_slice(lines.find_map(|line| line.strip_prefix(b"data: "))?).ok()
}
