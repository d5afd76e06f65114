//! The lines between a server and its worker: one JSON object each.
//!
//! ```text
//! to the worker     {"id":1,"load":{...}}   {"id":2,"infer":{...}}   {"id":2,"cancel":true}   {"id":3,"ping":true}
//! from the worker   {"id":2,"emit":...}     {"id":2,"progress":{"done":5,"total":9,"unit":"..."}}
//!                   {"id":2,"log":{"level":"warn","message":"..."}}       (or without `id`)
//!                   {"id":2,"result":...}   {"id":2,"error":{"code":"...","status":422,...}}
//! ```
//!
//! Ids grow. `result` or `error` is the last line of an id, also of one that was cancelled. Until then it's
//! worked on, and of those the server asks for as many at a time as the answer to `load` says (`slots`), for
//! one if it says nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep::Problem;
use skep::job::{LogLevel, Progress};

/// A line to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// What the replies to it will name.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

/// What a worker is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ask {
    /// Load the model; the first request.
    Load(Load),
    /// Generate a text.
    Infer(Generate),
    /// End the request of this id early. Always `true`.
    Cancel(bool),
    /// Answer, with any result, to show that it doesn't hang. Always `true`.
    Ping(bool),
}

/// What a worker loads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The model's file.
    pub(crate) path: String,
    /// The most tokens, prompt and answer together, that it keeps of a text.
    pub(crate) context: usize,
    /// How many requests it is to work on at once.
    pub(crate) slots: usize,
}

/// What a worker generates.
#[skep::data]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Generate {
    /// What to continue or answer.
    pub(crate) input: Prompt,
    /// The most tokens to generate; as many as the context holds if absent.
    pub(crate) max_tokens: Option<usize>,
    /// How freely tokens are drawn; 0 takes the likeliest.
    pub(crate) temperature: f32,
    /// Draw from the likeliest tokens that together have this probability.
    pub(crate) top_p: f32,
    /// Draw from this many of the likeliest tokens; 0 is all.
    pub(crate) top_k: usize,
    /// The same seed gives the same text.
    pub(crate) seed: Option<u64>,
    /// Where the text ends, none of them in it.
    pub(crate) stop: Vec<String>,
}

/// What to continue or answer.
#[skep::data]
#[derive(Clone, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prompt {
    /// A text.
    Prompt(String),
    /// A conversation, for the model's chat template.
    Messages(Vec<Message>),
}

/// One turn of a conversation.
#[skep::data]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Who speaks.
    pub(crate) role: String,
    /// What they say.
    pub(crate) content: String,
}

/// A line from the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(flatten)]
    pub(crate) say: Say,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Say {
    /// Output of the request.
    Emit(Value),
    /// How far the request is.
    Progress(Progress),
    /// A line for the log.
    Log(Line),
    /// The request's result, its last line.
    Result(Value),
    /// Why the request has no result, its last line.
    Error(Problem),
}

/// A line for the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// How important it is.
    pub(crate) level: LogLevel,
    /// What happened.
    pub(crate) message: String,
}

/// The result of `load`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// The most tokens that the worker keeps.
    pub(crate) context: usize,
    /// The threads that it computes with.
    pub(crate) threads: usize,
    /// How long it took, milliseconds.
    pub(crate) load_ms: u64,
    /// How many requests it works on at once.
    #[serde(default = "one")]
    pub(crate) slots: usize,
}

fn one() -> usize {
    1
}

/// Output of `infer`.
#[skep::data]
#[derive(Debug)]
pub(crate) struct Token {
    /// The next piece of the text.
    pub(crate) text: String,
}

/// The result of `infer`.
#[skep::data]
#[derive(Debug)]
pub(crate) struct Answer {
    /// The text.
    pub(crate) text: String,
    /// Why it ends there.
    pub(crate) finish_reason: FinishReason,
    /// Tokens that it took.
    pub(crate) usage: Usage,
    /// Time that it took.
    pub(crate) timings: Timings,
}

/// Why a text ends.
#[skep::data]
#[derive(Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// `max_tokens` were generated, or the context is full.
    Length,
    /// The job was cancelled.
    Cancelled,
}

/// Tokens that a text took.
#[skep::data]
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "the names that every client of a model knows")]
pub(crate) struct Usage {
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// Tokens of the answer.
    pub(crate) completion_tokens: usize,
    /// Tokens of the prompt that were computed for an earlier request.
    pub(crate) cached_tokens: usize,
}

/// Time that a text took.
#[skep::data]
#[derive(Debug)]
pub(crate) struct Timings {
    /// Until the prompt was computed, milliseconds.
    pub(crate) prompt_ms: u64,
    /// From then to the end, milliseconds.
    pub(crate) generation_ms: u64,
    /// Generated tokens a second.
    pub(crate) tokens_per_second: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skep::OperationError;

    use super::*;

    /// `value` as a line, read back and written again.
    fn again<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> (Value, Value) {
        let line = serde_json::to_string(value).unwrap();
        let back: T = serde_json::from_str(&line).unwrap();
        (serde_json::from_str(&line).unwrap(), serde_json::to_value(back).unwrap())
    }

    #[test]
    fn requests_are_lines_as_shown_above() {
        let load = Load { path: "/m".into(), context: 8, slots: 4 };
        let generate = Generate {
            input: Prompt::Prompt("a\n\u{2028}".into()),
            max_tokens: None,
            temperature: 0.5,
            top_p: 1.0,
            top_k: 0,
            seed: Some(u64::MAX),
            stop: vec!["\n".into()],
        };
        let cases = [
            (
                Ask::Load(load),
                json!({ "id": 7, "load": { "path": "/m", "context": 8, "slots": 4 } }),
            ),
            (
                Ask::Infer(generate),
                json!({ "id": 7, "infer": {
                    "input": { "prompt": "a\n\u{2028}" }, "max_tokens": null, "temperature": 0.5,
                    "top_p": 1.0, "top_k": 0, "seed": u64::MAX, "stop": ["\n"],
                } }),
            ),
            (Ask::Cancel(true), json!({ "id": 7, "cancel": true })),
            (Ask::Ping(true), json!({ "id": 7, "ping": true })),
        ];
        for (ask, expected) in cases {
            let (line, back) = again(&Request { id: 7, ask });
            assert_eq!((&line, &back), (&expected, &expected));
        }
    }

    #[test]
    fn replies_are_lines_as_shown_above() {
        let problem = OperationError::new("no-chat-template", "it has none").with_status(422);
        let line = Line { level: LogLevel::Warn, message: "slow".into() };
        let cases = [
            (Some(2), Say::Emit(json!({ "text": "é" })), json!({ "emit": { "text": "é" } })),
            (
                Some(2),
                Say::Progress(Progress::new(5, 9, "tokens")),
                json!({ "progress": { "done": 5, "total": 9, "unit": "tokens" } }),
            ),
            (None, Say::Log(line), json!({ "log": { "level": "warn", "message": "slow" } })),
            (Some(2), Say::Result(Value::Null), json!({ "result": null })),
            (
                Some(2),
                Say::Error(problem.into_problem()),
                json!({ "error": {
                    "type": "urn:skep:problem:no-chat-template", "status": 422,
                    "title": "The operation failed", "detail": "it has none",
                    "code": "no-chat-template",
                } }),
            ),
        ];
        for (id, say, mut expected) in cases {
            if let Some(id) = id {
                expected["id"] = id.into();
            }
            let (line, back) = again(&Reply { id, say });
            assert_eq!((&line, &back), (&expected, &expected));
        }
    }

    #[test]
    fn a_line_that_says_nothing_known_is_refused() {
        for line in ["{}", r#"{"id":1}"#, r#"{"id":1,"shout":1}"#, "[1]", "loading...", ""] {
            assert!(serde_json::from_str::<Reply>(line).is_err(), "{line}");
        }
    }
}
