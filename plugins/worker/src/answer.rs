//! Between the lines of the protocol and the engine's types.

use skep::prelude::*;
use skep::problem::{Code, Problem};
use skep_engine::{EngineError, Generation, Request, Sampling};

use crate::protocol::{Answer, FinishReason, Generate, Message, Prompt, Timings, Usage};

/// A request as the engine takes it.
pub(crate) fn request(generate: Generate) -> Request {
    let prompt = match generate.input {
        Prompt::Prompt(text) => skep_engine::Prompt::Text(text),
        Prompt::Messages(messages) => {
            let turn = |Message { role, content }| skep_engine::Message { role, content };
            skep_engine::Prompt::Messages(messages.into_iter().map(turn).collect())
        }
    };
    let sampling = Sampling {
        temperature: generate.temperature,
        top_p: generate.top_p,
        top_k: generate.top_k,
        seed: generate.seed,
    };
    let mut request = Request::new(prompt);
    request.max_tokens = generate.max_tokens;
    request.sampling = sampling;
    request.stop = generate.stop;
    request
}

/// What the engine generated, as the job's result.
pub(crate) fn answer(generation: Generation) -> Answer {
    let Generation { text, finish_reason, usage, timings, .. } = generation;
    let seconds = timings.generation.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "nobody generates 2^52 tokens")]
    let tokens = usage.completion_tokens as f64;
    Answer {
        text,
        finish_reason: match finish_reason {
            skep_engine::FinishReason::Stop => FinishReason::Stop,
            skep_engine::FinishReason::Length => FinishReason::Length,
            skep_engine::FinishReason::Cancelled => FinishReason::Cancelled,
        },
        usage: Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens,
        },
        timings: Timings {
            prompt_ms: milliseconds(timings.prompt),
            generation_ms: milliseconds(timings.generation),
            tokens_per_second: if seconds > 0.0 { tokens / seconds } else { 0.0 },
        },
    }
}

pub(crate) fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the engine refuses or fails at, as the job's problem.
///
/// The engine's own words may have the model's path in them, which is nobody's business.
pub(crate) fn problem(error: &EngineError) -> Problem {
    let (code, status, detail) = match error {
        EngineError::EmptyPrompt | EngineError::InvalidRequest { .. } => {
            return Problem::new(Code::InvalidInput, error.to_string());
        }
        EngineError::NoChatTemplate => ("no-chat-template", 422, error.to_string()),
        EngineError::ChatTemplate { .. } => ("chat-template", 422, error.to_string()),
        EngineError::PromptTooLong { .. } => ("prompt-too-long", 422, error.to_string()),
        EngineError::UnsupportedArchitecture { .. } => {
            ("unsupported-architecture", 422, error.to_string())
        }
        EngineError::UnsupportedTokenizer { .. } | EngineError::UnsupportedModel { .. } => {
            ("unsupported-model", 422, error.to_string())
        }
        EngineError::Busy { .. } => ("worker-busy", 503, error.to_string()),
        EngineError::MissingCpuFeature { .. } => ("missing-cpu-feature", 500, error.to_string()),
        EngineError::InvalidFile { detail, .. } => {
            let detail = format!("the model's file can't be used: {detail}; import it again");
            ("invalid-model", 422, detail)
        }
        EngineError::Read { source, .. } => {
            ("damaged-model", 500, format!("the model's file can't be read: {source}"))
        }
        _ => {
            // The numeric library's words are for those who look into it.
            eprintln!("{error}");
            ("engine-failed", 500, "the computation failed; the worker's log has more".to_owned())
        }
    };
    OperationError::new(code, detail).with_status(status).into_problem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_tells_where_the_model_lies() {
        let path = || "/home/ada/skep/model.gguf".into();
        let errors = [
            EngineError::InvalidFile { path: path(), detail: "it ends early".into() },
            EngineError::Read { path: path(), source: std::io::Error::other("input/output error") },
        ];
        for error in errors {
            let problem = problem(&error);
            assert!(!problem.detail.contains("ada"), "{problem}");
            assert!(problem.detail.contains("it ends early") || problem.status == 500, "{problem}");
        }
    }

    #[test]
    fn a_request_at_fault_is_told_from_a_model_at_fault() {
        let too_long = problem(&EngineError::PromptTooLong { tokens: 9, context: 8 });
        assert_eq!((&*too_long.code, too_long.status), ("prompt-too-long", 422));
        let architecture = "mamba".to_owned();
        let error = EngineError::UnsupportedArchitecture { architecture, supported: &["llama"] };
        let problem = problem(&error);
        assert_eq!(problem.code, "unsupported-architecture");
        assert!(problem.detail.contains("`mamba`") && problem.detail.contains("llama"));
    }
}
