//! The operations.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use skep::prelude::*;
use skep::schema::{DurationText, SizeText};
use tokio::runtime::Handle;
use url::Url;

use crate::catalog::{Catalog, Model};
use crate::download::{Allowed, Download, Downloads, Hub, Limits, Request, Settings, Source};
use crate::id::ModelId;
use crate::import::import;
use crate::load::{Loads, unload};

/// How often an import or a download tells how far it is.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(100);

/// Where `hf:` leads if the configuration doesn't say.
const HUB: &str = "https://huggingface.co";

struct Models {
    catalog: Catalog,
    downloads: Arc<Downloads>,
    loads: Loads,
}

/// Where models may come from, and what that may take.
#[skep::data]
#[serde(default)]
struct Config {
    /// The hub that `hf:` leads to, or a mirror of it; `HF_ENDPOINT` of the environment, or else
    /// `https://huggingface.co`.
    hf_endpoint: Option<String>,
    /// The hub's token; `HF_TOKEN` of the environment if absent.
    #[schemars(extend("writeOnly" = true))]
    hf_token: Option<String>,
    /// Hosts of a private network, or without TLS, that models may come from all the same: `HOST`, or
    /// `HOST:PORT`.
    allowed_hosts: Vec<String>,
    /// The largest file that is downloaded.
    max_size: SizeText,
    /// How much of the disk a download leaves free. It's looked at again while the file comes.
    keep_free: SizeText,
    /// How long a server may send nothing, or less than 1 KiB a second, before it's asked again.
    stall_timeout: DurationText,
    /// How often in a row it's asked again in vain.
    retries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hf_endpoint: None,
            hf_token: None,
            allowed_hosts: Vec::new(),
            max_size: SizeText(1 << 40),
            keep_free: SizeText(1 << 30),
            stall_timeout: DurationText(Duration::from_secs(30)),
            retries: 5,
        }
    }
}

impl Config {
    fn settings(self) -> Result<Settings> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = self.hf_endpoint.or_else(|| variable("HF_ENDPOINT"));
        let endpoint = endpoint.as_deref().unwrap_or(HUB);
        let endpoint =
            Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        let endpoint = endpoint.ok_or_else(|| {
            let detail = "the hub's endpoint (`hf_endpoint`, or HF_ENDPOINT) is no http address";
            OperationError::message(detail)
        })?;
        let hub = Hub { endpoint, token: self.hf_token.or_else(|| variable("HF_TOKEN")) };
        let limits = Limits {
            max_size: *self.max_size,
            keep_free: *self.keep_free,
            patience: *self.stall_timeout,
            retries: self.retries,
        };
        Ok(Settings { allowed: Allowed::new(self.allowed_hosts), hub, limits })
    }
}

/// What was deleted.
#[skep::data]
struct Deleted {
    /// The id of the model that is gone.
    id: String,
}

/// What was unloaded.
#[skep::data]
struct Unloaded {
    /// The model's id.
    id: String,
    /// The workers that held it, and have ended.
    workers: Vec<String>,
}

/// Where a model's file lies, for the operations that load it.
#[skep::data]
struct Location {
    /// The file.
    path: String,
    /// The model.
    model: Model,
}

/// Model files: download, import, list, get, delete; load, unload.
#[skep::plugin(name = "model", config = Config)]
impl Models {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let models = cx.data_dir()?.join("models");
        let catalog = Catalog::open(models.clone()).map_err(|error| {
            let models = models.display();
            OperationError::message(format!("the models in {models} can't be opened: {error}"))
        })?;
        let directory = cx.data_dir()?.join("downloads");
        let downloads = Downloads::new(directory, catalog.clone(), cx.config.settings()?);
        Ok(Self { catalog, downloads: Arc::new(downloads), loads: Loads::default() })
    }

    async fn health(&self) -> Health {
        match self.catalog.check() {
            Ok(()) => Health::Healthy,
            Err(error) => Health::Unhealthy(format!("the models can't be read: {error}")),
        }
    }

    /// Download a model: a GGUF file of the hub, or of any server.
    ///
    /// `hf:OWNER/REPO/FILE.gguf` (`hf:OWNER/REPO@REVISION/FILE.gguf`), `https://...`, or
    /// `file:///...` on the server's own machine, which imports it.
    ///
    /// What has come stays on the disk, whatever ends the job, and the next download of the same goes
    /// on behind it; `model_delete` drops it. Jobs that want the same at the same time share one
    /// transfer. The file is checked before it's a model: against `sha256`, against the hub's
    /// digest, and as a GGUF file.
    #[operation(idempotent, placed(model = "id", anywhere))]
    async fn model_download(
        &self,
        /// Where it comes from.
        model: String,
        /// The SHA-256 that the file must have.
        #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
        sha256: Option<String>,
        /// What to call the model; the file's name in lower case if absent.
        #[schemars(regex(pattern = ModelId::PATTERN))]
        id: Option<String>,
        job: &JobContext,
    ) -> Result<Model> {
        let sha256 = sha256.map(|digest| digest.to_ascii_lowercase());
        match Source::parse(&model)? {
            Source::Remote(source) => {
                let id = id_or(id, source.suggested_id())?;
                self.downloads.download(Request { id, source, sha256 }, job).await
            }
            Source::File(path) => self.import(path, id, sha256, job).await,
        }
    }

    /// List the downloads that go on, and what is kept of those that were broken off, by the models' ids.
    #[operation(read_only, idempotent, placed)]
    async fn model_downloads(&self, job: &JobContext) -> Result<Vec<Download>> {
        let downloads = self.downloads.clone();
        Ok(job.blocking(move || downloads.list()).await?)
    }

    /// Import a GGUF file from the machine's own disk.
    ///
    /// The file is checked, and hashed (SHA-256), and kept below the server's data directory: as a
    /// hard link where that is possible, which takes no space, else as a copy. A model that is a
    /// link changes if its file is written to later, so replace such a file, don't edit it.
    ///
    /// Importing the same file by the same id again changes nothing. `invalid-path` and
    /// `invalid-model` say what is wrong with the file, `model-exists` that the id is another
    /// file's.
    #[operation(idempotent, placed)]
    async fn model_import(
        &self,
        /// The file's absolute path, on the machine that the server runs on.
        path: String,
        /// What to call the model; the file's name in lower case if absent.
        #[schemars(regex(pattern = ModelId::PATTERN))]
        id: Option<String>,
        job: &JobContext,
    ) -> Result<Model> {
        self.import(path, id, None, job).await
    }

    /// List the models, by their ids.
    #[operation(read_only, idempotent, placed)]
    async fn model_list(&self, job: &JobContext) -> Result<Vec<Model>> {
        let catalog = self.catalog.clone();
        Ok(job.blocking(move || catalog.list()).await?)
    }

    /// Show one model.
    #[operation(read_only, idempotent, placed(model = "id"))]
    async fn model_get(
        &self,
        /// The model's id.
        id: String,
        job: &JobContext,
    ) -> Result<Model> {
        let catalog = self.catalog.clone();
        job.blocking(move || find(&catalog, &id)).await
    }

    /// Delete a model, and what has come of one that is being downloaded.
    ///
    /// The file that it was imported from stays where it is. Workers that have loaded the model go
    /// on.
    #[operation(destructive, placed(model = "id"))]
    async fn model_delete(
        &self,
        /// The model's id.
        id: String,
        job: &JobContext,
    ) -> Result<Deleted> {
        let (catalog, downloads) = (self.catalog.clone(), self.downloads.clone());
        let work = move || {
            let Some(model) = ModelId::parse(&id) else { return Err(unknown(&catalog, &id)) };
            let (is_part, is_model) = (downloads.forget(&model)?, catalog.delete(&model)?);
            if is_part || is_model { Ok(Deleted { id }) } else { Err(unknown(&catalog, &id)) }
        };
        job.blocking(work).await
    }

    /// Load a model: start a worker that holds it, if none does.
    ///
    /// How far the load is comes as progress, in bytes.
    #[operation(idempotent, placed(model = "id"))]
    async fn model_load(
        &self,
        /// The model's id.
        id: String,
        /// Which of the machine's devices to compute on.
        #[default(0)]
        device: u32,
        job: &JobContext,
    ) -> Result<Value> {
        self.loads.load(&id, device, job).await
    }

    /// Unload a model: end the workers that hold it. Their jobs fail with `worker-deleted`.
    #[operation(destructive, idempotent, placed(model = "id"))]
    async fn model_unload(
        &self,
        /// The model's id.
        id: String,
        job: &JobContext,
    ) -> Result<Unloaded> {
        let workers = unload(&id, job).await?;
        Ok(Unloaded { id, workers })
    }

    /// Tell where a model's file is.
    #[operation(read_only, idempotent, hidden)]
    async fn model_locate(
        &self,
        /// The model's id.
        id: String,
        job: &JobContext,
    ) -> Result<Location> {
        let catalog = self.catalog.clone();
        let work = move || {
            let model = find(&catalog, &id)?;
            let path = catalog.locate(&model)?;
            let path = path.into_os_string().into_string().map_err(|_| {
                OperationError::message("the server's data directory has a name that is not UTF-8")
            })?;
            Ok(Location { path, model })
        };
        job.blocking(work).await
    }
}

impl Models {
    async fn import(
        &self,
        path: String,
        id: Option<String>,
        sha256: Option<String>,
        job: &JobContext,
    ) -> Result<Model> {
        let id = id_or(id, ModelId::suggested_by(Path::new(&path)))?;
        let (catalog, context, runtime) = (self.catalog.clone(), job.clone(), Handle::current());
        let work = move || {
            let mut told: Option<Instant> = None;
            let mut progress = |done, total| {
                if context.is_cancelled()
                    || done == total
                    || told.is_none_or(|told| told.elapsed() >= TELL_EVERY)
                {
                    told = Some(Instant::now());
                    runtime.block_on(context.progress(done, total, "bytes"))?;
                }
                Ok(())
            };
            import(&catalog, &path, &id, sha256.as_deref(), &mut progress)
        };
        job.blocking(work).await
    }
}

/// The id that the client gives, or else the one that the file's name suggests.
fn id_or(given: Option<String>, suggested: Option<ModelId>) -> Result<ModelId> {
    let id = match given {
        Some(given) => ModelId::parse(&given),
        None => suggested,
    };
    id.ok_or_else(|| {
        let detail = "the file's name suggests no id: give an `id` of lower-case letters, \
                      digits, `.`, `_` and `-`";
        OperationError::new("invalid-id", detail).with_status(422)
    })
}

fn find(catalog: &Catalog, id: &str) -> Result<Model> {
    let found = ModelId::parse(id).map(|id| catalog.find(&id)).transpose()?.flatten();
    found.ok_or_else(|| unknown(catalog, id))
}

fn unknown(catalog: &Catalog, id: &str) -> OperationError {
    // That the models can't be listed is no reason to hide that this one isn't there.
    let models = catalog.list().unwrap_or_default();
    let known = models.iter().map(|model| model.id.as_str());
    OperationError::unknown("model", id, known, "model_list")
}
