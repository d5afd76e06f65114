//! `model_download`: from an address to a model in the catalog.
//!
//! - `source.rs`: what a client names
//! - `address.rs`: which machines may be asked
//! - `web.rs`: a request, with its redirects; `reply.rs`: what the answer means; `failure.rs`: whether
//!   to ask again
//! - `part.rs`: what has come, on the disk
//! - `transfer.rs`: all requests that it takes, and the model that comes of it

mod address;
mod failure;
mod part;
mod reply;
mod source;
#[cfg(test)]
mod tests;
mod transfer;
mod web;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use skep::Problem;
use skep::prelude::*;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::address::Allowed;
use self::part::Origin;
use self::source::Remote;
pub(crate) use self::source::Source;
pub(crate) use self::transfer::Limits;
use self::transfer::{Status, Transfer, free_space};
pub(crate) use self::web::Hub;
use self::web::Web;
use crate::catalog::{Catalog, Model, taken};
use crate::id::ModelId;
use crate::plugin::TELL_EVERY;

/// How often it's looked whether a part is still open.
const GLANCE: Duration = Duration::from_millis(10);

/// The downloads of a server.
///
/// There's one transfer an id, however many jobs wait for it; it goes on for as long as one of them
/// does, and what has come stays on the disk.
pub(crate) struct Downloads {
    /// Where the parts are, each in a directory of its id.
    directory: PathBuf,
    catalog: Catalog,
    settings: Settings,
    /// Made by the first download: it reads the system's certificates.
    web: OnceLock<Arc<Web>>,
    running: Mutex<HashMap<ModelId, Running>>,
}

/// Where models may come from, and what that may take.
pub(crate) struct Settings {
    pub(crate) allowed: Allowed,
    pub(crate) hub: Hub,
    pub(crate) limits: Limits,
}

/// A model that isn't whole yet.
#[skep::data]
pub(crate) struct Download {
    /// What the model will be called.
    pub(crate) id: String,
    /// Where it comes from.
    pub(crate) source: String,
    /// How much has come, bytes.
    pub(crate) bytes: u64,
    /// How much there is; known when the server has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// Whether a job waits for it. If none does, what has come is kept for the next one.
    pub(crate) is_running: bool,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: ModelId,
    pub(crate) source: Remote,
    /// The SHA-256 that the file must have, in lower case.
    pub(crate) sha256: Option<String>,
}

impl Request {
    /// The model, if it's there already. Blocks.
    ///
    /// # Errors
    /// `model-exists` if another file has its id.
    fn find(&self, catalog: &Catalog) -> Result<Option<Model>> {
        match catalog.find(&self.id)? {
            Some(kept) if !self.is_for(&kept) => Err(taken(&kept)),
            kept => Ok(kept),
        }
    }

    fn is_for(&self, kept: &Model) -> bool {
        match &self.sha256 {
            Some(sha256) => kept.sha256 == *sha256,
            None => kept.source.as_ref().is_some_and(|source| *source == self.source.to_string()),
        }
    }
}

type Outcome = BoxFuture<'static, Result<Model, Problem>>;

/// A transfer that jobs wait for.
struct Running {
    request: Request,
    /// Who polls one of its clones drives it.
    outcome: WeakShared<Outcome>,
    status: watch::Receiver<Status>,
}

impl Downloads {
    pub(crate) fn new(directory: PathBuf, catalog: Catalog, settings: Settings) -> Self {
        Self { directory, catalog, settings, web: OnceLock::new(), running: Mutex::default() }
    }

    /// Downloads a model, or waits for the transfer that does so already.
    pub(crate) async fn download(&self, request: Request, job: &JobContext) -> Result<Model> {
        let (catalog, wanted) = (self.catalog.clone(), request.clone());
        if let Some(kept) = job.blocking(move || wanted.find(&catalog)).await? {
            return Ok(kept);
        }
        let (mut outcome, status) = self.join(request)?;
        let mut clock = interval(TELL_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        loop {
            tokio::select! {
                outcome = &mut outcome => {
                    told.tell(&status, job).await?;
                    return Ok(outcome?);
                }
                () = job.cancelled() => {
                    return Err(OperationError::message("the job was cancelled"));
                }
                _ = clock.tick() => told.tell(&status, job).await?,
            }
        }
    }

    /// The models that aren't whole yet, by their ids. Blocks.
    pub(crate) fn list(&self) -> io::Result<Vec<Download>> {
        let mut all = BTreeMap::new();
        let kept = match fs::read_dir(&self.directory) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        for entry in kept.into_iter().flatten() {
            let entry = entry?;
            let Ok(id) = entry.file_name().into_string() else { continue };
            if let Some((Origin { source, total, .. }, bytes)) = part::look(&entry.path()) {
                all.insert(id.clone(), Download { id, source, bytes, total, is_running: false });
            }
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, Running { request, outcome, status }) in &*running {
            if outcome.upgrade().is_some() {
                let (id, source) = (id.to_string(), request.source.to_string());
                let Status { done: bytes, total, .. } = *status.borrow();
                all.insert(id.clone(), Download { id, source, bytes, total, is_running: true });
            }
        }
        Ok(all.into_values().collect())
    }

    /// Drops what has come of a model that isn't there yet; `false` if there's nothing. Blocks, also
    /// while a download that was cancelled ends: it may make the model yet.
    ///
    /// # Errors
    /// `download-runs` while jobs wait for it.
    pub(crate) fn forget(&self, id: &ModelId) -> Result<bool> {
        let directory = self.directory.join(id.as_str());
        loop {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.get(id).is_some_and(|running| running.outcome.upgrade().is_some()) {
                let detail =
                    format!("model `{id}` is being downloaded: cancel the jobs that do so first");
                return Err(OperationError::new("download-runs", detail).with_status(409));
            }
            match part::remove(&directory) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                removed => return Ok(removed?),
            }
            drop(running);
            thread::sleep(GLANCE);
        }
    }

    /// The transfer of what is asked for, a new one if there's none.
    fn join(&self, request: Request) -> Result<(Shared<Outcome>, watch::Receiver<Status>)> {
        let web = self.web()?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = running.get(&request.id)
            && let Some(outcome) = there.outcome.upgrade()
        {
            if there.request != request {
                return Err(another(&there.request));
            }
            return Ok((outcome, there.status.clone()));
        }
        running.retain(|_, running| running.outcome.upgrade().is_some());
        let (told, status) = watch::channel(Status::default());
        let transfer = Transfer {
            request: request.clone(),
            directory: self.directory.join(request.id.as_str()),
            catalog: self.catalog.clone(),
            web,
            limits: self.settings.limits,
            free_space,
            status: told,
        };
        let outcome = async { transfer.run().await.map_err(OperationError::into_problem) };
        let outcome = outcome.boxed().shared();
        if let Some(outcome) = outcome.downgrade() {
            let (id, status) = (request.id.clone(), status.clone());
            running.insert(id, Running { request, outcome, status });
        }
        Ok((outcome, status))
    }

    fn web(&self) -> Result<Arc<Web>> {
        if let Some(web) = self.web.get() {
            return Ok(web.clone());
        }
        let Settings { allowed, hub, limits } = &self.settings;
        let web = Web::new(allowed.clone(), hub.clone(), limits.patience).map_err(|error| {
            let detail = format!("the system's certificates can't be read: {error}");
            OperationError::message(detail)
        })?;
        Ok(self.web.get_or_init(|| Arc::new(web)).clone())
    }
}

/// What a job has told of a transfer.
#[derive(Default)]
struct Told {
    progress: Option<(u64, Option<u64>)>,
    troubles: u32,
}

impl Told {
    /// Tells what is new.
    async fn tell(&mut self, status: &watch::Receiver<Status>, job: &JobContext) -> Result<()> {
        let Status { done, total, trouble } = status.borrow().clone();
        if let Some((times, what)) = trouble
            && times != self.troubles
        {
            self.troubles = times;
            job.log(LogLevel::Warn, what).await?;
        }
        // A bar of nothing says nothing: first somebody has to answer.
        let is_begun = total.is_some() || done > 0;
        if is_begun && self.progress != Some((done, total)) {
            self.progress = Some((done, total));
            job.progress(done, total, "bytes").await?;
        }
        Ok(())
    }
}

fn another(running: &Request) -> OperationError {
    let Request { id, source, .. } = running;
    let detail = format!(
        "model `{id}` is being downloaded from {source}, or with another digest: wait for that, or \
         take another id"
    );
    OperationError::new("download-runs", detail).with_status(409)
}
