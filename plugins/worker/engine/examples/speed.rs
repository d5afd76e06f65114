//! How many tokens a second a model makes on this machine: medians of some runs.
//!
//! `cargo run --release -p skep-engine --example speed -- MODEL.gguf [RUNS]`

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::collections::HashSet;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use skep_engine::{
    DEFAULT_CONTEXT, Engine, EngineError, Prompt, Request, Sampling, SpecialTokens, Step,
};

const PROMPT_TOKENS: usize = 512;
const GENERATED_TOKENS: usize = 128;
/// How many texts are generated at once, in turn.
const TOGETHER: [usize; 4] = [1, 2, 4, 8];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("give the path of a GGUF file")?);
    let runs = arguments.next().map_or(Ok(5), |runs| runs.parse())?;
    if let Some(kernels) = skep_engine::missing_kernels() {
        eprintln!(
            "this build has no {kernels} kernels and is several times slower than it could be"
        );
    }

    let started = Instant::now();
    let mut engine = Engine::load(&path, DEFAULT_CONTEXT, TOGETHER[3], &mut |_, _| {})?;
    println!("load        {:8.2} s", started.elapsed().as_secs_f64());

    let line = "Bees dance to tell each other where the flowers are. ";
    let tokens = engine.tokenize(line, SpecialTokens::AsText).len();
    let long = line.repeat(PROMPT_TOKENS.div_ceil(tokens));
    let (mut prompts, mut generations) = (Vec::new(), TOGETHER.map(|_| Vec::new()));
    for _ in 0..runs {
        engine.clear_cache();
        let done = engine.generate(&request(&long, 0), &mut |_| ControlFlow::Continue(()))?;
        prompts.push(done.usage.prompt_tokens as f64 / done.timings.prompt.as_secs_f64());
        for (count, speeds) in TOGETHER.iter().zip(&mut generations) {
            engine.clear_cache();
            speeds.push(together(&mut engine, *count)?);
        }
    }
    println!("prompt      {:8.1} tokens/s", median(prompts));
    for (count, speeds) in TOGETHER.iter().zip(generations) {
        println!("{count} at once   {:8.1} tokens/s in all", median(speeds));
    }
    println!("threads     {:6}", engine.info().threads);
    Ok(())
}

/// Generates so many texts at once; returns how many tokens a second they get in all.
fn together(engine: &mut Engine, count: usize) -> Result<f64, EngineError> {
    for _ in 0..count {
        engine.begin(&request("Once upon a time, there was", GENERATED_TOKENS))?;
    }
    // Until each has its first token.
    let mut first = HashSet::new();
    while first.len() < count {
        engine.advance(&mut |id, step| {
            if matches!(step, Step::Token { .. }) {
                first.insert(id);
            }
            ControlFlow::Continue(())
        })?;
    }
    let (started, mut tokens) = (Instant::now(), 0);
    while engine.is_busy() {
        engine.advance(&mut |_, _| {
            tokens += 1;
            ControlFlow::Continue(())
        })?;
    }
    Ok(f64::from(tokens) / started.elapsed().as_secs_f64())
}

fn request(text: &str, max_tokens: usize) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        ..Request::new(Prompt::Text(text.into()))
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
