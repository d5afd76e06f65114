//! What a worker computes with: which program is started for it, and what it's told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use skep::prelude::*;

use crate::protocol::Load;
use crate::worker::{Memory, ModelFile};

/// The name of the process's variable that says which of NVIDIA's devices it sees.
const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// The name of the process's variable that has the key of the server that it asks.
pub(crate) const API_KEY: &str = "SKEP_WORKER_API_KEY";

/// What a worker computes with.
pub(crate) trait Driver {
    /// What is started, as `skep worker` with these arguments.
    ///
    /// # Errors
    /// If what it needs isn't there, with its name.
    fn arguments(&self) -> Result<Vec<OsString>>;

    /// What the process's environment has beside what every worker's has.
    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// How much memory a model takes.
    fn memory(&self, model: &ModelFile, context: usize) -> Memory;

    /// All of it, for a worker that loads this.
    ///
    /// # Errors
    /// Those of [`arguments`](Self::arguments).
    fn recipe(&self, load: Load) -> Result<Recipe> {
        Ok(Recipe { arguments: self.arguments()?, environment: self.environment(), load })
    }
}

/// How a worker's processes are started, and what they load.
pub(crate) struct Recipe {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) load: Load,
}

/// The engine that is built in: it computes on the processor.
pub(crate) struct Cpu;

/// llama.cpp's server, one for each worker.
pub(crate) struct LlamaServer<'a> {
    pub(crate) config: &'a LlamaConfig,
    /// Which of the machine's devices it sees.
    pub(crate) device: u32,
}

/// Any server that speaks OpenAI's protocol, and is no child of ours.
pub(crate) struct Attached<'a> {
    pub(crate) url: &'a str,
    /// What it calls the model.
    pub(crate) model: &'a str,
    /// The key that it wants.
    pub(crate) api_key: Option<&'a String>,
}

/// How llama.cpp's server is started.
#[skep::data]
#[derive(Clone)]
#[serde(default)]
pub(crate) struct LlamaConfig {
    /// The program: a path, or a name that is looked for along `PATH`.
    pub(crate) program: PathBuf,
    /// Arguments beside those that it's always given (the model, the context, the slots, the address).
    pub(crate) arguments: Vec<String>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self { program: "llama-server".into(), arguments: Vec::new() }
    }
}

impl Driver for Cpu {
    fn arguments(&self) -> Result<Vec<OsString>> {
        Ok(Vec::new())
    }

    fn memory(&self, model: &ModelFile, context: usize) -> Memory {
        // Weights are kept as they are multiplied, which takes more than they do in the file.
        let percent = match model.quantisation.as_deref().and_then(|name| name.get(..2)) {
            Some("Q4") => 140,
            Some("Q5") => 165,
            Some("Q6") => 155,
            Some("Q8") => 110,
            _ => 100,
        };
        let weights = model.bytes.saturating_mul(percent) / 100;
        Memory { weights, slot: context_bytes(model, context, size_of::<f32>()) }
    }
}

impl Driver for LlamaServer<'_> {
    fn arguments(&self) -> Result<Vec<OsString>> {
        let LlamaConfig { program, arguments } = self.config;
        let Some(path) = find(program) else {
            let detail = format!(
                "`{}` is not on the PATH: install llama.cpp, or name its server in the \
                 configuration (`llama_server.program` of [plugins.worker])",
                program.display()
            );
            return Err(OperationError::new("missing-program", detail).with_status(501));
        };
        let mut all = vec!["llama-server".into(), path.into()];
        all.extend(arguments.iter().map(OsString::from));
        Ok(all)
    }

    fn memory(&self, model: &ModelFile, context: usize) -> Memory {
        // Keys and values of 16 bits, unless its arguments say otherwise.
        Memory { weights: model.bytes, slot: context_bytes(model, context, size_of::<u16>()) }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![(VISIBLE_DEVICES, self.device.to_string())]
    }
}

impl Driver for Attached<'_> {
    fn arguments(&self) -> Result<Vec<OsString>> {
        Ok(vec!["url".into(), self.url.into(), self.model.into()])
    }

    fn memory(&self, _: &ModelFile, _: usize) -> Memory {
        // That is the other server's.
        Memory::default()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        // Not an argument, which all the machine's users can see.
        self.api_key.map(|key| (API_KEY, key.clone())).into_iter().collect()
    }
}

/// How much memory a full context takes, of numbers of this size.
fn context_bytes(model: &ModelFile, context: usize, number: usize) -> u64 {
    let tokens = model.context_length.unwrap_or(u64::MAX).min(context as u64);
    model.kv_size.unwrap_or_default().saturating_mul(tokens).saturating_mul(number as u64)
}

/// Where a program is: as it's named if that is a path, else along `PATH`.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|at| at.join(program)).find(|at| at.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_weights_and_of_each_slots_context() {
        let model = ModelFile {
            id: "m".to_owned(),
            architecture: "llama".to_owned(),
            bytes: 1_000,
            quantisation: Some("Q4_K_M".to_owned()),
            context_length: Some(2048),
            kv_size: Some(10),
        };
        let memory = Cpu.memory(&model, 4096);
        assert_eq!((memory.weights, memory.slot), (1_400, 2048 * 10 * 4));
        assert_eq!(memory.with(3), 1_400 + 3 * 2048 * 10 * 4);
        let unknown = ModelFile { quantisation: None, kv_size: None, ..model };
        assert_eq!(Cpu.memory(&unknown, 4096).with(4), 1_000);
    }

    #[test]
    fn a_program_is_found_along_the_path_or_named_as_missing() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(find(Path::new("./no-such-program")), None);
        let config = LlamaConfig { program: "no-such-program".into(), ..LlamaConfig::default() };
        let error = LlamaServer { config: &config, device: 0 }.arguments().unwrap_err();
        assert_eq!(error.problem().code, "missing-program");
        assert!(error.to_string().contains("`no-such-program`"), "{error}");
    }
}
