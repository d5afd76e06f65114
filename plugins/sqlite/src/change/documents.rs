//! Changes of documents.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;
use skep::store::{Change as Published, Document, Expected, StoreError};

use crate::error::Failure;
use crate::rows::micros;
use crate::writer::{Change, Transaction};

/// [`DocumentStore::put_document`](skep::store::DocumentStore::put_document).
pub(crate) struct Put {
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) value: Arc<RawValue>,
    pub(crate) expected: Expected,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Change for Put {
    type Output = u64;

    fn apply(&self, to: &mut Transaction<'_>) -> Result<u64, Failure> {
        check(to, &self.namespace, &self.key, self.expected)?;
        to.totals.revision += 1;
        let revision = to.totals.revision;
        to.statement(
            "INSERT OR REPLACE INTO documents (namespace, key, revision, expires_at, value) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((
            &self.namespace,
            &self.key,
            revision,
            self.expires_at.map(micros),
            self.value.get(),
        ))?;
        let document =
            Document::new(self.key.clone(), self.value.clone(), revision, self.expires_at);
        to.publish(&self.namespace, Published::Put(document));
        Ok(revision)
    }

    fn size(&self) -> usize {
        self.value.get().len()
    }
}

/// [`DocumentStore::delete_document`](skep::store::DocumentStore::delete_document).
pub(crate) struct Delete {
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) expected: Expected,
}

impl Change for Delete {
    type Output = bool;

    fn apply(&self, to: &mut Transaction<'_>) -> Result<bool, Failure> {
        let was_there = check(to, &self.namespace, &self.key, self.expected)?;
        if was_there {
            to.statement("DELETE FROM documents WHERE namespace = ?1 AND key = ?2")?
                .execute((&self.namespace, &self.key))?;
            to.publish(&self.namespace, Published::Deleted(self.key.clone()));
        }
        Ok(was_there)
    }
}

/// Whether the document is there; refused if it isn't as expected.
fn check(
    to: &Transaction<'_>,
    namespace: &str,
    key: &str,
    expected: Expected,
) -> Result<bool, Failure> {
    let mut found = to.statement(
        "SELECT revision FROM documents WHERE namespace = ?1 AND key = ?2 \
         AND (expires_at IS NULL OR expires_at > ?3)",
    )?;
    let mut rows = found.query((namespace, key, micros(Timestamp::now())))?;
    let revision = rows.next()?.map(|row| row.get(0)).transpose()?;
    if expected.is_met(revision) {
        return Ok(revision.is_some());
    }
    let (namespace, key) = (namespace.to_owned(), key.to_owned());
    Err(Failure::Refused(StoreError::Conflict { namespace, key }))
}
