//! What a worker is, as others see it.

use jiff::Timestamp;

/// A model, as far as its worker goes.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ModelFile {
    pub(crate) id: String,
    pub(crate) architecture: String,
    /// The file's size.
    pub(crate) bytes: u64,
    /// How its weights are stored: `Q4_K_M`.
    #[serde(default)]
    pub(crate) quantisation: Option<String>,
    /// The most tokens that it was trained for.
    #[serde(default)]
    pub(crate) context_length: Option<u64>,
    /// How many numbers are kept of each token of a text.
    #[serde(default)]
    pub(crate) kv_size: Option<u64>,
}

/// How much memory a worker may take, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) weights: u64,
    /// The context of one of its slots, when it's full.
    pub(crate) slot: u64,
}

impl Memory {
    /// With so many slots.
    pub(crate) fn with(&self, slots: usize) -> u64 {
        self.weights.saturating_add(self.slot.saturating_mul(slots as u64))
    }
}

/// What a worker computes with, and where.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) backend: Backend,
    pub(crate) device: u32,
    /// Of one that was attached.
    pub(crate) url: Option<String>,
}

impl Kind {
    /// Whether its model is in another server's memory, which was there before and stays.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(self.backend, Backend::Url)
    }
}

/// A process that holds one model.
#[skep::data]
#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names, reason = "`worker` is the name in the input, too")]
pub(crate) struct Worker {
    /// Its id.
    pub(crate) id: String,
    /// The hive that it runs on.
    pub(crate) hive_id: String,
    /// The id of its model.
    pub(crate) model: String,
    /// The kind of network that the model is: `llama`, `gemma3`.
    pub(crate) architecture: String,
    /// What it's doing.
    pub(crate) state: State,
    /// How many jobs it has, the waiting ones included.
    pub(crate) jobs: usize,
    /// What it computes with.
    pub(crate) worker: Backend,
    /// Which of these devices it computes on.
    pub(crate) device: u32,
    /// Its process's id.
    pub(crate) pid: u32,
    /// How often its process ended by itself, and another took its place.
    pub(crate) restarts: u64,
    /// When it was started.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) started_at: Timestamp,
    /// The most tokens that it keeps, prompt and answer together; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<usize>,
    /// The threads that it computes with; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    /// How long it took to load the model, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load_ms: Option<u64>,
    /// How many jobs it works on at once; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<usize>,
    /// Where the server is that it asks, of one that was attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// What a worker is doing.
#[skep::data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It loads its model.
    Loading,
    /// It waits for a job.
    Idle,
    /// It works for a job.
    Busy,
    /// Its process has ended by itself; another loads the model, soon.
    Restarting,
    /// It has ended.
    Stopped,
}

/// What a worker computes with.
#[skep::data]
#[derive(Clone, Copy, Debug)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    // Doc comments here would make a `oneOf` of the schema, whose errors say nothing. The built-in engine.
    Cpu,
    // llama.cpp's server.
    LlamaServer,
    // A server that was attached.
    Url,
}
