//! The models on the disk.
//!
//! ```text
//! models/ID/model.gguf    the file, often a hard link to the one that was imported
//! models/ID/model.json    what is known of it: a `Model`
//! models/.import-XXXXXX/  an import that goes on; becomes a model by being renamed
//! models/.delete-XXXXXX/  a model on its way out
//! ```
//!
//! A directory appears and disappears by one rename, so there is no half model at any time. What a
//! crash leaves behind begins with a dot, and is removed at the next start.
//!
//! All of this blocks its thread.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use skep::prelude::*;
use tempfile::TempDir;

use crate::gguf::Header;
use crate::id::ModelId;

/// The model's file, in its directory.
const FILE: &str = "model.gguf";

/// What is known of it, beside.
const SIDECAR: &str = "model.json";

/// A model that is kept here.
#[skep::data]
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Its id, the name that other operations know it by.
    pub(crate) id: String,
    /// The name of the file that was imported.
    pub(crate) file: String,
    /// Where it was downloaded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The file's size.
    pub(crate) bytes: u64,
    /// The file's SHA-256, hexadecimal.
    pub(crate) sha256: String,
    /// The kind of network: `llama`, `gemma3`.
    pub(crate) architecture: String,
    /// The name that the file gives the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// How the weights are stored: `Q4_K_M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quantisation: Option<String>,
    /// The most tokens that the model was trained for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context_length: Option<u64>,
    /// How many numbers are kept of each token of a text (keys and values, of all layers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kv_size: Option<u64>,
    /// The number of weights.
    pub(crate) parameters: u64,
    /// When it was imported, or downloaded.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) imported_at: Timestamp,
}

impl Model {
    /// A file of `bytes` bytes that has this header, kept from now on.
    pub(crate) fn new(
        id: &ModelId,
        file: String,
        source: Option<String>,
        (bytes, sha256): (u64, String),
        header: Header,
    ) -> Self {
        let Header { architecture, name, quantisation, context_length, kv_size, parameters } =
            header;
        Self {
            id: id.to_string(),
            file,
            source,
            bytes,
            sha256,
            architecture,
            name,
            quantisation,
            context_length,
            kv_size,
            parameters,
            imported_at: Timestamp::now(),
        }
    }
}

/// The directory that the models are in.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    models: PathBuf,
}

/// An import that goes on. Dropped, it leaves nothing.
pub(crate) struct Staged(TempDir);

impl Catalog {
    /// The catalog in `models`, which is made if it isn't there, and cleaned of what a crash left.
    pub(crate) fn open(models: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&models)?;
        for entry in fs::read_dir(&models)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { models })
    }

    /// The models, by their ids. One whose description can't be read is left out, with a warning.
    pub(crate) fn list(&self) -> io::Result<Vec<Model>> {
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.models)? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(ModelId::parse) else { continue };
            match self.read(&id) {
                Ok(model) => models.push(model),
                // It was deleted a moment ago.
                Err(error) if error.kind() == ErrorKind::NotFound && !self.has(&id) => {}
                Err(error) => tracing::warn!(model = %id, "a model can't be read: {error}"),
            }
        }
        models.sort_by(|a: &Model, b| a.id.cmp(&b.id));
        Ok(models)
    }

    /// The model `id`, if there is one.
    pub(crate) fn find(&self, id: &ModelId) -> Result<Option<Model>> {
        match self.read(id) {
            Ok(model) => Ok(Some(model)),
            Err(error) if error.kind() == ErrorKind::NotFound && !self.has(id) => Ok(None),
            Err(error) => {
                let detail = format!(
                    "the description of model `{id}` can't be read ({error}); delete the model \
                     and import it again"
                );
                Err(OperationError::new("damaged-model", detail))
            }
        }
    }

    /// Where the model's file is. Fails if it isn't as long as it was.
    pub(crate) fn locate(&self, model: &Model) -> Result<PathBuf> {
        let path = self.models.join(&model.id).join(FILE);
        let damaged = |what: String| {
            let id = &model.id;
            let detail = format!(
                "the file of model `{id}` {what} since it was imported; delete the model and \
                 import it again"
            );
            OperationError::new("damaged-model", detail)
        };
        match fs::metadata(&path) {
            Ok(file) if file.len() == model.bytes => Ok(path),
            Ok(file) => Err(damaged(format!("went from {} to {} bytes", model.bytes, file.len()))),
            Err(error) => Err(damaged(format!("became unreadable ({error})"))),
        }
    }

    /// Room for a new model.
    pub(crate) fn stage(&self) -> io::Result<Staged> {
        tempfile::Builder::new().prefix(".import-").tempdir_in(&self.models).map(Staged)
    }

    /// Makes what was staged a model. If there is one of that id, and of the same file, it stays.
    pub(crate) fn keep(&self, staged: Staged, id: &ModelId, model: Model) -> Result<Model> {
        if self.commit(staged, id, &model).map_err(|error| not_stored(&error))? {
            return Ok(model);
        }
        match self.find(id)? {
            Some(kept) if kept.sha256 == model.sha256 => Ok(kept),
            Some(kept) => Err(taken(&kept)),
            None => Err(OperationError::message(format!(
                "another job deleted model `{id}` while it was made; do the same again"
            ))),
        }
    }

    /// Makes what was staged the model `model.id`. `false` if there is one of that id already.
    fn commit(&self, staged: Staged, id: &ModelId, model: &Model) -> io::Result<bool> {
        let directory = staged.0.path();
        let mut sidecar = File::create_new(directory.join(SIDECAR))?;
        sidecar.write_all(&serde_json::to_vec_pretty(model)?)?;
        sidecar.sync_all()?;
        File::open(staged.file())?.sync_all()?;
        sync_directory(directory)?;
        match fs::rename(directory, self.directory(id)) {
            Ok(()) => {
                // Its name is the model's now: there is nothing left to remove.
                let _ = staged.0.keep();
                sync_directory(&self.models)?;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the model `id`. `false` if there is none.
    pub(crate) fn delete(&self, id: &ModelId) -> io::Result<bool> {
        let out = tempfile::Builder::new().prefix(".delete-").tempdir_in(&self.models)?;
        match fs::rename(self.directory(id), out.path().join(id.as_str())) {
            Ok(()) => {
                sync_directory(&self.models)?;
                out.close()?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the catalog can be read.
    pub(crate) fn check(&self) -> io::Result<()> {
        fs::read_dir(&self.models).map(drop)
    }

    fn read(&self, id: &ModelId) -> io::Result<Model> {
        let sidecar = fs::read(self.directory(id).join(SIDECAR))?;
        Ok(serde_json::from_slice(&sidecar)?)
    }

    fn has(&self, id: &ModelId) -> bool {
        self.directory(id).exists()
    }

    fn directory(&self, id: &ModelId) -> PathBuf {
        self.models.join(id.as_str())
    }
}

impl Staged {
    /// Where the model's file belongs.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join(FILE)
    }
}

/// What the operating system says of a file has no path in it.
pub(crate) fn not_stored(error: &io::Error) -> OperationError {
    OperationError::new("model-not-stored", format!("the model can't be stored: {error}"))
}

/// Another file has the id that was asked for.
pub(crate) fn taken(kept: &Model) -> OperationError {
    let Model { id, file, .. } = kept;
    let detail = format!(
        "model `{id}` is another file already (`{file}`): take another id, or delete that one first"
    );
    OperationError::new("model-exists", detail).with_status(409)
}

/// Makes the names in a directory outlive a power cut.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        for left in [".import-abc", ".delete-abc", "kept"] {
            fs::create_dir(directory.path().join(left)).unwrap();
            fs::write(directory.path().join(left).join(FILE), "half a model").unwrap();
        }
        Catalog::open(directory.path().to_owned()).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().file_name(), "kept");
    }

    #[test]
    fn a_model_without_description_is_reported_and_can_be_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path().to_owned()).unwrap();
        fs::create_dir(directory.path().join("broken")).unwrap();
        let id = ModelId::parse("broken").unwrap();
        assert!(catalog.list().unwrap().is_empty());
        assert_eq!(catalog.find(&id).unwrap_err().problem().code, "damaged-model");
        assert!(catalog.delete(&id).unwrap());
        assert!(catalog.find(&id).unwrap().is_none());
        assert!(!catalog.delete(&id).unwrap());
    }
}
