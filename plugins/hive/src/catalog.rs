//! The hives that are kept, in the store's documents.

use skep::prelude::*;
use skep::store::{Changes, Document, Documents, Expected, StoreError};

use crate::hive::Entry;

/// How many documents are read at once.
const PAGE: usize = 100;

/// The hives that are kept. Clones are the same catalog.
#[derive(Clone)]
pub(crate) struct Catalog(Documents);

impl Catalog {
    pub(crate) fn new(documents: Documents) -> Self {
        Self(documents)
    }

    /// The changes from now on.
    pub(crate) fn watch(&self) -> Changes {
        self.0.watch()
    }

    /// All hives, by their ids.
    pub(crate) async fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.0.list(after.as_deref(), PAGE).await?;
            for document in &page {
                entries.push(read(document)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(entries),
            }
        }
    }

    /// Adds a hive.
    ///
    /// # Errors
    /// `hive-exists`.
    pub(crate) async fn add(&self, entry: &Entry) -> Result<()> {
        match self.0.put(&entry.id, entry, Expected::Absent).await {
            Err(StoreError::Conflict { .. }) => {
                let detail =
                    format!("there is a hive `{}` already: `hive_update` changes it", entry.id);
                Err(OperationError::new("hive-exists", detail).with_status(409))
            }
            added => Ok(added.map(drop)?),
        }
    }

    /// Changes a hive. Returns it as it's then; `None` if there's none of this id.
    pub(crate) async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut Entry),
    ) -> Result<Option<Entry>> {
        loop {
            let Some(document) = self.0.get(id).await? else { return Ok(None) };
            let mut entry = read(&document)?;
            change(&mut entry);
            match self.0.put(id, &entry, Expected::Revision(document.revision)).await {
                // Someone else has changed it meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                changed => return changed.map(|_| Some(entry)).map_err(Into::into),
            }
        }
    }

    /// The hive `id`, if there is one.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Entry>> {
        self.0.get(id).await?.as_ref().map(read).transpose()
    }

    /// Deletes a hive. Returns whether there was one.
    pub(crate) async fn delete(&self, id: &str) -> Result<bool> {
        Ok(self.0.delete(id, Expected::Anything).await?)
    }
}

fn read(document: &Document) -> Result<Entry> {
    let mut entry: Entry = document.read()?;
    entry.id.clone_from(&document.key);
    Ok(entry)
}
