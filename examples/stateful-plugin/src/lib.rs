//! A family of operations with a state: notes, kept as documents of the server's store.
//!
//! What a plugin has of its server, one after the other: a typed configuration, documents that
//! outlive it, a task in the background, health, and an end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep::StreamExt;
use skep::plugin::ShutdownSignal;
use skep::prelude::*;
use skep::store::{Change, Changes, Documents, Expected};

/// How many notes are read at once.
const PAGE: usize = 100;

/// `[plugins.notes]`.
#[skep::data]
#[serde(default)]
struct Config {
    /// How many notes there may be.
    #[schemars(range(min = 1))]
    max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max: 1_000 }
    }
}

/// A note.
#[skep::data]
struct Note {
    /// What it's called.
    title: String,
    /// What it says.
    text: String,
}

/// What happened to a note.
#[skep::data]
#[serde(rename_all = "snake_case")]
enum Happened {
    /// It was written, or written anew.
    Written(Note),
    /// It's gone; its title.
    Deleted(String),
}

struct Notes {
    config: Config,
    documents: Documents,
    titles: Titles,
}

/// Notes that are kept.
#[skep::plugin(name = "notes", config = Config)]
impl Notes {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let documents = cx.documents().clone();
        // Watched before they are listed, so that none is missed in between.
        let changes = documents.watch();
        let titles = Titles::default();
        titles.read(&documents).await?;
        cx.spawn(follow(titles.clone(), documents.clone(), changes, cx.shutdown()));
        Ok(Self { config: cx.config, documents, titles })
    }

    async fn health(&self) -> Health {
        match self.documents.list(None, 1).await {
            Ok(_) => Health::Healthy,
            Err(error) => Health::Unhealthy(error.to_string()),
        }
    }

    /// Write a note, or write it anew.
    #[operation(idempotent)]
    async fn note_write(
        &self,
        /// What it's called.
        #[schemars(length(min = 1, max = 200))]
        title: String,
        /// What it says.
        text: String,
    ) -> Result<Note> {
        let titles = self.titles.lock().len() as u64;
        if titles >= self.config.max && !self.titles.lock().contains(&title) {
            let detail = format!("there are {titles} notes already: delete some");
            return Err(OperationError::new("too-many-notes", detail).with_status(409));
        }
        let note = Note { title, text };
        self.documents.put(&note.title, &note, Expected::Anything).await?;
        Ok(note)
    }

    /// Show a note.
    #[operation(read_only, idempotent)]
    async fn note_show(
        &self,
        /// What it's called.
        title: String,
    ) -> Result<Note> {
        match self.documents.get(&title).await? {
            Some(document) => Ok(document.read()?),
            None => Err(no_note(&title)),
        }
    }

    /// List all notes, a title at a time.
    #[operation(read_only, idempotent, emits = String)]
    async fn note_list(&self, job: &JobContext) -> Result<usize> {
        let titles = self.titles.lock().clone();
        for title in &titles {
            job.emit(title).await?;
        }
        Ok(titles.len())
    }

    /// Delete a note.
    #[operation(destructive, idempotent)]
    async fn note_delete(
        &self,
        /// What it's called.
        title: String,
    ) -> Result<()> {
        if !self.documents.delete(&title, Expected::Anything).await? {
            return Err(no_note(&title));
        }
        Ok(())
    }

    /// Tell what happens to notes, until it's cancelled.
    #[operation(read_only, emits = Happened)]
    async fn note_watch(&self, job: &JobContext) -> Result<()> {
        let mut changes = self.documents.watch().take_until(Box::pin(job.cancelled()));
        while let Some(change) = changes.next().await {
            match change {
                Change::Put(document) => job.emit(&Happened::Written(document.read()?)).await?,
                Change::Deleted(title) => job.emit(&Happened::Deleted(title)).await?,
                _ => job.log(LogLevel::Warn, "some changes were missed").await?,
            }
        }
        Ok(())
    }
}

fn no_note(title: &str) -> OperationError {
    OperationError::new("no-note", format!("there is no note `{title}`")).with_status(404)
}

/// The titles of all notes, in memory.
#[derive(Clone, Default)]
struct Titles(Arc<Mutex<BTreeSet<String>>>);

impl Titles {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads them all.
    async fn read(&self, documents: &Documents) -> Result<()> {
        let mut titles = BTreeSet::new();
        loop {
            let page = documents.list(titles.last().map(String::as_str), PAGE).await?;
            if page.is_empty() {
                break;
            }
            titles.extend(page.into_iter().map(|document| document.key));
        }
        *self.lock() = titles;
        Ok(())
    }
}

/// Keeps the titles as they are, whoever changes them: another server may be on the same store.
async fn follow(titles: Titles, documents: Documents, changes: Changes, shutdown: ShutdownSignal) {
    let mut changes = changes.take_until(Box::pin(shutdown.requested()));
    while let Some(change) = changes.next().await {
        match change {
            Change::Put(document) => drop(titles.lock().insert(document.key)),
            Change::Deleted(title) => drop(titles.lock().remove(&title)),
            // Too slow: what was missed isn't known.
            _ => drop(titles.read(&documents).await),
        }
    }
}
