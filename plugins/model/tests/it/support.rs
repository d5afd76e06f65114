//! A server of its own for each test, and files to import.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, Problem, Router};
use skep_model as _;
use tempfile::TempDir;

/// Reach `model_locate` as another plugin would, and tell what it tells.
#[skep::operation]
async fn locate(
    /// The model's id.
    id: String,
    job: &JobContext,
) -> Result<Value> {
    job.call("model_locate", json!({ "id": id })).await
}

pub(crate) struct Server {
    pub(crate) router: Router,
    plugin: Value,
    directory: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// With this `[plugins.model]`.
    pub(crate) async fn with(plugin: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let router = start(directory.path(), &plugin).await;
        Self { router, plugin, directory }
    }

    /// The same data directory after the server was killed.
    pub(crate) async fn restart(&mut self) {
        self.router = start(self.directory.path(), &self.plugin).await;
    }

    pub(crate) async fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        self.router.call(operation, input).await
    }

    pub(crate) async fn import(&self, path: &Path, id: &str) -> Result<Value, Problem> {
        self.call("model_import", json!({ "path": path, "id": id })).await
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What lies in the models' directory.
    pub(crate) fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.models()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.directory.path().join("data/model/models")
    }

    /// The part of a model that has come, in bytes, if there's one.
    pub(crate) fn part(&self, id: &str) -> Option<u64> {
        let part = self.directory.path().join("data/model/downloads").join(id).join("part");
        std::fs::metadata(part).ok().map(|part| part.len())
    }
}

async fn start(directory: &Path, plugin: &Value) -> Router {
    let mut config = Config::default();
    config.plugins.insert("model".to_owned(), plugin.clone());
    config.data_dir = directory.join("data");
    let store = MemoryStore::new(1 << 24);
    Router::start(config, Linked::all(), Arc::new(store)).await.unwrap()
}

/// A small GGUF file with weights of `bytes` bytes, all of them `weight`.
pub(crate) fn gguf(bytes: usize, weight: u8) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    for count in [1_u64, 2] {
        file.extend(count.to_le_bytes());
    }
    file.extend([text("general.architecture"), vec![8, 0, 0, 0], text("llama")].concat());
    file.extend([text("llama.context_length"), vec![4, 0, 0, 0, 0, 8, 0, 0]].concat());
    file.extend([text("weights"), vec![1, 0, 0, 0]].concat());
    file.extend((bytes as u64).to_le_bytes());
    // Of one byte each, from the first one on.
    file.extend(24_u32.to_le_bytes());
    file.extend([0; 8]);
    file.resize(file.len().next_multiple_of(32), 0);
    file.resize(file.len() + bytes, weight);
    file
}
