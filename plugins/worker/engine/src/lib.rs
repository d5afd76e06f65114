//! A GGUF language model on the CPU: text in, tokens out.
//!
//! ```no_run
//! use std::{io::Write, ops::ControlFlow, path::Path};
//!
//! use skep_engine::{DEFAULT_CONTEXT, Engine, Message, Prompt, Request, Step};
//!
//! let path = Path::new("model.gguf");
//! let mut engine = Engine::load(path, DEFAULT_CONTEXT, 1, &mut |done, total| {
//!     eprint!("\r{} of {} MB", done >> 20, total >> 20);
//! })?;
//! let question = Message { role: "user".into(), content: "Why do bees dance?".into() };
//! let request = Request::new(Prompt::Messages(vec![question]));
//! let answer = engine.generate(&request, &mut |step| {
//!     if let Step::Token { text } = step {
//!         print!("{text}");
//!         std::io::stdout().flush().ok();
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! println!("\n{} tokens", answer.usage.completion_tokens);
//! # Ok::<(), skep_engine::EngineError>(())
//! ```
//!
//! Everything comes from the one file: the network's sizes, the vocabulary, the special tokens, the
//! chat template. A file that needs what is not computed here is refused by name, when it is loaded;
//! nothing is guessed.
//!
//! # The parts
//!
//! - `engine`: loading, and what is computed next, for which of the texts
//! - `sequence`: a text under way
//! - `gguf`: the file format
//! - `tokenizer`: text to tokens and back, to the id as llama.cpp does it
//! - `chat`: the model's template for conversations
//! - `decoder`: the network, for the architectures `llama` and `gemma3`
//! - `sampler`: the choice of the next token
//! - `text`: from bytes to whole characters, and where a stop string ends them
//! - `cpu`: whether this build and this processor fit
//!
//! What is deliberately absent: async (a generation is a loop on a thread of yours) and accelerators.
//! `unsafe` is denied.
//!
//! # Speed
//!
//! Weights stay quantised in memory, and the time of a token is little more than the time to read them
//! once. The formats `Q4_0`, `Q4_1`, `Q5_0`, `Q8_0`, `Q4_K` and `Q6_K` are computed here, in `f32`;
//! others by candle, more slowly. The compiler turns that into vector instructions when the program is
//! built: without AVX2 (`-C target-cpu=x86-64-v3`) it is several times slower. Call [`check_cpu`]
//! first, and warn of [`missing_kernels`].

mod chat;
mod cpu;
mod decoder;
mod engine;
mod error;
mod gguf;
mod request;
mod sampler;
mod sequence;
mod text;
mod tokenizer;

pub use cpu::{check_cpu, missing_kernels};
pub use engine::{DEFAULT_CONTEXT, Engine, ModelInfo};
pub use error::EngineError;
pub use request::{
    FinishReason, Generation, Message, Prompt, Request, Sampling, Step, Timings, Usage,
};
pub use sequence::SequenceId;
pub use tokenizer::SpecialTokens;
