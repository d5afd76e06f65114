//! What a hive tells of itself.
//!
//! These types are read from servers of other versions, too: what isn't known is left out, and what may
//! be missing has a default.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a hive is, as its server tells every two seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Heartbeat {
    /// Its server's version.
    pub(crate) version: String,
    /// Its server's process.
    pub(crate) pid: u32,
    /// When that was started.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) started_at: Timestamp,
    /// What the machine has.
    #[serde(default)]
    pub(crate) capacity: Capacity,
    /// Its server's jobs.
    #[serde(default)]
    pub(crate) jobs: Jobs,
    /// The models on its disk; absent if it serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) models: Option<Vec<Model>>,
    /// The workers that run; absent if it serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<Vec<Worker>>,
}

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Capacity {
    /// Processor cores that the server may use.
    #[serde(default)]
    pub(crate) cores: usize,
    /// Memory in all, bytes.
    #[serde(default)]
    pub(crate) memory_total: u64,
    /// Memory that programs can still have, bytes.
    #[serde(default)]
    pub(crate) memory_free: u64,
    /// Graphics processors, as `nvidia-smi` tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gpus: Vec<Gpu>,
}

/// A graphics processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Gpu {
    /// What it is.
    pub(crate) name: String,
    /// Memory in all, bytes.
    pub(crate) memory_total: u64,
    /// Memory that is free, bytes.
    pub(crate) memory_free: u64,
}

/// How many jobs a server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Jobs {
    /// Jobs that haven't ended.
    pub(crate) live: usize,
    /// Of these, how many wait for a place.
    pub(crate) queued: usize,
}

/// A model on a hive's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Model {
    /// Its id.
    pub(crate) id: String,
    /// The file's size.
    pub(crate) bytes: u64,
    /// The kind of network that it is.
    #[serde(default)]
    pub(crate) architecture: String,
    /// How its weights are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quantisation: Option<String>,
}

/// A worker of a hive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Worker {
    /// Its id.
    pub(crate) id: String,
    /// The id of its model.
    pub(crate) model: String,
    /// What it's doing: `loading`, `idle`, `busy`, `restarting`.
    pub(crate) state: String,
    /// How many jobs it has, the waiting ones included.
    #[serde(default)]
    pub(crate) jobs: usize,
    /// How many jobs it works on at once; known when its model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<usize>,
}
