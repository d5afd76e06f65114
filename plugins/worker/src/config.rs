//! `[plugins.worker]`.

use std::collections::BTreeMap;
use std::time::Duration;

use skep::schema::{DurationText, SizeText};

use crate::driver::LlamaConfig;
use crate::supervisor::Limits;

/// How workers are started.
#[skep::data]
#[serde(default)]
pub(crate) struct Config {
    /// The most tokens that a worker keeps of a text, prompt and answer together; fewer if its model was
    /// trained for fewer. It costs memory.
    #[schemars(range(min = 1))]
    pub(crate) context: usize,
    /// How many jobs a worker works on at once, each with a context of its own; the others wait. Together
    /// they take less time than one after the other.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) slots: usize,
    /// How many threads a worker computes with; one a core if absent.
    #[schemars(range(min = 1))]
    pub(crate) threads: Option<usize>,
    /// How many workers may run at once, beside servers that are attached. For one more, one that has no
    /// job ends.
    pub(crate) max_workers: usize,
    /// How much memory all workers may take, for weights and contexts; what is free of the machine's if
    /// absent. For one more, those end that have had no job for the longest.
    pub(crate) max_memory: Option<SizeText>,
    /// After how long without a job a worker ends, and gives its memory back; `0s` is never. A server that is
    /// attached stays.
    pub(crate) idle_unload: DurationText,
    /// How long a worker may take to load its model; `0s` is as long as it likes.
    pub(crate) start_timeout: DurationText,
    /// After how long without an answer a worker's process counts as hung: it's ended, and another takes
    /// its place. `0s` is never.
    pub(crate) unresponsive_after: DurationText,
    /// How llama.cpp's server is started, for workers that are `llama-server`.
    pub(crate) llama_server: LlamaConfig,
    /// The keys that servers want which are attached (`worker_attach`), by their URLs. They are sent as
    /// bearer tokens.
    #[schemars(extend("writeOnly" = true))]
    pub(crate) api_keys: BTreeMap<String, String>,
    /// The program that is started as a worker, with its arguments; by default this one, as `skep
    /// worker`. For those who wrap it, as in `["nice", "skep", "worker"]`.
    pub(crate) command: Option<Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            context: skep_engine::DEFAULT_CONTEXT,
            slots: 4,
            threads: None,
            max_workers: 8,
            max_memory: None,
            idle_unload: DurationText(Duration::from_mins(10)),
            start_timeout: DurationText(Duration::from_mins(10)),
            unresponsive_after: DurationText(Duration::from_secs(30)),
            llama_server: LlamaConfig::default(),
            api_keys: BTreeMap::new(),
            command: None,
        }
    }
}

impl Config {
    /// What workers may take.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            workers: self.max_workers,
            memory: self.max_memory.as_deref().copied(),
            idle: Some(*self.idle_unload).filter(|long| !long.is_zero()),
            start: or_forever(*self.start_timeout),
            unresponsive: or_forever(*self.unresponsive_after),
        }
    }
}

fn or_forever(limit: Duration) -> Duration {
    if limit.is_zero() { Duration::MAX } else { limit }
}
