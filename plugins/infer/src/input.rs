//! What `infer` takes.

use serde_json::{Value, json};
use skep::prelude::*;
use skep::problem::{Code, Problem};

/// What to ask, and how. Exactly one of `prompt` and `messages` is given.
#[skep::data]
// In place of a `oneOf`, whose errors quote the whole input and name no field.
#[schemars(extend(
    "if" = { "required": ["messages"] },
    "then" = { "properties": { "prompt": { "const": null } } },
    "else" = { "required": ["prompt"] },
))]
pub(crate) struct InferInput {
    /// The id of the model, as `model_list` has it.
    pub(crate) model: String,
    /// A text to continue. Either this or `messages`.
    #[serde(default)]
    pub(crate) prompt: Option<String>,
    /// A conversation to answer, written down by the model's own chat template. Either this or
    /// `prompt`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(crate) messages: Option<Vec<Message>>,
    /// The most tokens to generate; as many as the worker's context holds if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) max_tokens: Option<u32>,
    /// How freely tokens are drawn: 0 takes the likeliest always, 1 draws by the model's own
    /// probabilities.
    #[serde(default = "default_temperature")]
    #[schemars(range(min = 0, max = 2))]
    pub(crate) temperature: f64,
    /// Draw from the likeliest tokens that together have this probability; 1 is all.
    #[serde(default = "default_top_p")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(crate) top_p: f64,
    /// Draw from this many of the likeliest tokens; 0 is all.
    #[serde(default = "default_top_k")]
    pub(crate) top_k: u32,
    /// The same seed and input give the same text; another text each time if absent.
    #[serde(default)]
    pub(crate) seed: Option<u64>,
    /// The text ends before the first of these.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1)))]
    pub(crate) stop: Vec<String>,
    /// What a worker that has to be started computes with: the engine that is built in, or llama.cpp's
    /// server.
    #[serde(default)]
    pub(crate) device: Device,
    /// The worker to ask; any that has the model if absent.
    #[serde(default)]
    pub(crate) worker_id: Option<String>,
    /// Whether the text is emitted as it comes; without, it's in the result alone.
    #[serde(default = "default_stream")]
    pub(crate) stream: bool,
}

/// One turn of a conversation.
#[skep::data]
pub(crate) struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the model's template knows.
    pub(crate) role: String,
    /// What they say.
    pub(crate) content: String,
}

/// What a worker computes with.
#[skep::data]
#[derive(Clone, Copy, Default)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Device {
    // Doc comments here would make a `oneOf` of the schema, whose errors say nothing.
    #[default]
    Cpu,
    LlamaServer,
}

impl InferInput {
    /// The request as `worker_infer` takes it.
    pub(crate) fn request(&self) -> Result<Value> {
        let input = match (&self.prompt, &self.messages) {
            (Some(prompt), None) => json!({ "prompt": prompt }),
            (None, Some(messages)) => json!({ "messages": messages }),
            _ => {
                let detail = "exactly one of `prompt` and `messages` is to be given";
                return Err(Problem::new(Code::InvalidInput, detail).into());
            }
        };
        Ok(json!({
            "input": input,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "seed": self.seed,
            "stop": self.stop,
        }))
    }
}

// The defaults are llama.cpp's.

fn default_temperature() -> f64 {
    0.8
}

fn default_top_p() -> f64 {
    0.95
}

fn default_top_k() -> u32 {
    40
}

fn default_stream() -> bool {
    true
}
