//! How many tokens a second a model makes on this machine: medians of some runs.
//!
//! `cargo run --release -p skep-engine --example speed -- MODEL.gguf [RUNS]`

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use skep_engine::{DEFAULT_CONTEXT, Engine, Prompt, Request, Sampling, SpecialTokens};

const PROMPT_TOKENS: usize = 512;
const GENERATED_TOKENS: usize = 128;

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
    let mut engine = Engine::load(&path, DEFAULT_CONTEXT, &mut |_, _| {})?;
    println!("load        {:8.2} s", started.elapsed().as_secs_f64());

    let line = "Bees dance to tell each other where the flowers are. ";
    let tokens = engine.tokenize(line, SpecialTokens::AsText).len();
    let long = line.repeat(PROMPT_TOKENS.div_ceil(tokens));
    let (mut prompts, mut generations) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        engine.clear_cache();
        let done = run(&mut engine, &long, 0)?;
        prompts.push(done.usage.prompt_tokens as f64 / done.timings.prompt.as_secs_f64());
        engine.clear_cache();
        let done = run(&mut engine, "Once upon a time, there was", GENERATED_TOKENS)?;
        generations
            .push(done.usage.completion_tokens as f64 / done.timings.generation.as_secs_f64());
    }
    println!("prompt      {:8.1} tokens/s", median(prompts));
    println!("generation  {:8.1} tokens/s", median(generations));
    println!("threads     {:6}", engine.info().threads);
    Ok(())
}

fn run(
    engine: &mut Engine,
    text: &str,
    max_tokens: usize,
) -> Result<skep_engine::Generation, skep_engine::EngineError> {
    let request = Request {
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        ..Request::new(Prompt::Text(text.into()))
    };
    engine.generate(&request, &mut |_| ControlFlow::Continue(()))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
