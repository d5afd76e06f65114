//! The operations.

use std::path::Path;
use std::time::{Duration, Instant};

use skep::prelude::*;
use tokio::runtime::Handle;

use crate::catalog::{Catalog, Model};
use crate::hive::HiveId;
use crate::id::ModelId;
use crate::import::import;

/// How often an import tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The longest part of an unknown id that is quoted back, characters.
const MAX_QUOTED: usize = 100;

struct Models {
    catalog: Catalog,
}

/// There is nothing to configure.
#[skep::data]
struct Config {}

/// What was deleted.
#[skep::data]
struct Deleted {
    /// The id of the model that is gone.
    id: String,
}

/// Where a model's file lies, for the operations that load it.
#[skep::data]
struct Location {
    /// The file.
    path: String,
    /// The model.
    model: Model,
}

/// Model files: import, list, get, delete.
#[skep::plugin(name = "model", config = Config)]
impl Models {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let models = cx.data_dir()?.join("models");
        let catalog = Catalog::open(models.clone()).map_err(|error| {
            let models = models.display();
            OperationError::message(format!("the models in {models} can't be opened: {error}"))
        })?;
        Ok(Self { catalog })
    }

    async fn health(&self) -> Health {
        match self.catalog.check() {
            Ok(()) => Health::Healthy,
            Err(error) => Health::Unhealthy(format!("the models can't be read: {error}")),
        }
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
    #[operation(idempotent)]
    async fn model_import(
        &self,
        /// The file's absolute path, on the machine that the server runs on.
        path: String,
        /// What to call the model; the file's name in lower case if absent.
        #[schemars(regex(pattern = ModelId::PATTERN))]
        id: Option<String>,
        /// The hive that keeps the model.
        #[default(HiveId::Localhost)]
        hive_id: HiveId,
        job: &JobContext,
    ) -> Result<Model> {
        let HiveId::Localhost = hive_id;
        let id = match id {
            Some(id) => ModelId::parse(&id),
            None => ModelId::suggested_by(Path::new(&path)),
        };
        let id = id.ok_or_else(|| {
            let detail = "the file's name suggests no id: give an `id` of lower-case letters, \
                          digits, `.`, `_` and `-`";
            OperationError::new("invalid-id", detail).with_status(422)
        })?;
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
            import(&catalog, &path, &id, &mut progress)
        };
        job.blocking(work).await
    }

    /// List the models, by their ids.
    #[operation(read_only, idempotent)]
    async fn model_list(
        &self,
        /// The hive whose models are listed.
        #[default(HiveId::Localhost)]
        hive_id: HiveId,
        job: &JobContext,
    ) -> Result<Vec<Model>> {
        let HiveId::Localhost = hive_id;
        let catalog = self.catalog.clone();
        Ok(job.blocking(move || catalog.list()).await?)
    }

    /// Show one model.
    #[operation(read_only, idempotent)]
    async fn model_get(
        &self,
        /// The model's id.
        id: String,
        /// The hive that keeps the model.
        #[default(HiveId::Localhost)]
        hive_id: HiveId,
        job: &JobContext,
    ) -> Result<Model> {
        let HiveId::Localhost = hive_id;
        let catalog = self.catalog.clone();
        job.blocking(move || find(&catalog, &id)).await
    }

    /// Delete a model.
    ///
    /// The file that it was imported from stays where it is. Workers that have loaded the model go
    /// on.
    #[operation(destructive)]
    async fn model_delete(
        &self,
        /// The model's id.
        id: String,
        /// The hive that keeps the model.
        #[default(HiveId::Localhost)]
        hive_id: HiveId,
        job: &JobContext,
    ) -> Result<Deleted> {
        let HiveId::Localhost = hive_id;
        let catalog = self.catalog.clone();
        let work = move || match ModelId::parse(&id).map(|id| catalog.delete(&id)).transpose()? {
            Some(true) => Ok(Deleted { id }),
            _ => Err(unknown(&catalog, &id)),
        };
        job.blocking(work).await
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

fn find(catalog: &Catalog, id: &str) -> Result<Model> {
    let found = ModelId::parse(id).map(|id| catalog.find(&id)).transpose()?.flatten();
    found.ok_or_else(|| unknown(catalog, id))
}

fn unknown(catalog: &Catalog, id: &str) -> OperationError {
    // That the models can't be listed is no reason to hide that this one isn't there.
    let models = catalog.list().unwrap_or_default();
    let id: String = id.chars().take(MAX_QUOTED).collect();
    let near = skep::nearest(&id, models.iter().map(|model| model.id.as_str()));
    let hint = match near {
        Some(near) => format!(", did you mean `{near}`?"),
        None => "; `model_list` has those there are".to_owned(),
    };
    let detail = format!("no model is called `{id}`{hint}");
    let error = OperationError::new("unknown-model", detail).with_status(404);
    match near {
        Some(near) => error.with("did_you_mean", near),
        None => error,
    }
}
