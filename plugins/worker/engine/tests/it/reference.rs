//! Agreement with llama.cpp, whose answers are in `tests/data`.

use serde_json::Value;
use skep_engine::SpecialTokens;

use crate::model::{self, GEMMA3, SMOLLM2};

fn reference(model: &str) -> Value {
    let all: Value =
        serde_json::from_str(include_str!("../data/llama-cpp-reference.json")).unwrap();
    all["models"][model].clone()
}

fn ids_are_those_of_llama_cpp(file: &str, name: &str) {
    let engine = model::load(file);
    let texts = reference(name)["texts"].as_array().unwrap().clone();
    assert_eq!(texts.len(), 15);
    for expected in texts {
        let text = expected["text"].as_str().unwrap();
        for (key, specials) in [("plain", SpecialTokens::AsText), ("special", SpecialTokens::Parse)]
        {
            let ids: Value = engine.tokenize(text, specials).into();
            assert_eq!(ids, expected[key], "{text:?}, {key}");
        }
    }
}

/// Checks that the first tokens of the greedy text are llama.cpp's: so many for each prompt.
///
/// They part where two tokens are all but equally likely. There llama.cpp parts from itself too, on
/// another processor, or with flash attention: both round activations to 8 bits.
fn greedy_text_agrees(file: &str, name: &str, tokens: [usize; 4]) {
    let mut engine = model::load(file);
    let prompts = reference(name)["greedy"].as_array().unwrap().clone();
    for (expected, tokens) in prompts.into_iter().zip(tokens) {
        let (prompt, text) =
            (expected["prompt"].as_str().unwrap(), expected["text"].as_str().unwrap());
        let ours = model::generate(&mut engine, &model::greedy(prompt, 16)).text;
        let ids = |text: &str| engine.tokenize(text, SpecialTokens::AsText);
        let same = ids(&ours).iter().zip(ids(text)).take_while(|(a, b)| *a == b).count();
        assert!(same >= tokens, "{prompt:?}: {same} tokens agree: {ours:?}, not {text:?}");
    }
}

#[test]
fn ids_of_byte_pairs_are_those_of_llama_cpp() {
    ids_are_those_of_llama_cpp(SMOLLM2, "SmolLM2-135M-Instruct.Q4_1");
}

#[test]
fn ids_of_sentence_pieces_are_those_of_llama_cpp() {
    ids_are_those_of_llama_cpp(GEMMA3, "gemma-3-270m.Q4_K_M");
}

#[test]
fn greedy_text_of_llama_is_that_of_llama_cpp() {
    greedy_text_agrees(SMOLLM2, "SmolLM2-135M-Instruct.Q4_1", [14, 16, 12, 15]);
}

#[test]
fn greedy_text_of_gemma_is_that_of_llama_cpp() {
    greedy_text_agrees(GEMMA3, "gemma-3-270m.Q4_K_M", [11, 16, 16, 1]);
}
