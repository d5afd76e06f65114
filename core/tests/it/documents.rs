//! What plugins remember in the store.

use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use skep::store::{Change, DocumentStore};

use crate::restart::Disk;
use crate::support::within;

#[tokio::test]
async fn a_plugins_documents_outlive_the_server() {
    let disk = Disk::new();
    let router = disk.router().await;
    let mut changes = disk.0.watch_documents("notes");
    let put = json!({ "key": "shopping", "text": "eggs" });
    assert_eq!(within(router.call("note_put", put)).await.unwrap(), json!("new"));
    let change = changes.next().now_or_never().flatten();
    assert!(matches!(change, Some(Change::Put(note)) if note.key == "shopping"));
    drop(router);

    let router = disk.router().await;
    let put = json!({ "key": "shopping", "text": "eggs, milk" });
    assert_eq!(within(router.call("note_put", put)).await.unwrap(), json!("eggs"));
    assert_eq!(within(router.call("note_list", json!({}))).await.unwrap(), json!(["shopping"]));
}

#[tokio::test]
async fn of_two_changes_of_one_revision_one_is_refused() {
    let router = Disk::new().router().await;
    let problem = within(router.call("note_race", json!({}))).await.unwrap_err();
    assert!(problem.detail.contains("changed by someone else"), "{problem:?}");
}

mod plugin {
    use skep::prelude::*;
    use skep::store::{Documents, Expected};

    struct Notes(Documents);

    /// Notes, by their names.
    #[skep::plugin(name = "notes")]
    impl Notes {
        async fn start(cx: PluginContext) -> Result<Self> {
            Ok(Self(cx.documents().clone()))
        }

        /// Keep a note, and tell what it was before.
        #[operation(idempotent)]
        async fn note_put(&self, key: String, text: String) -> Result<String> {
            let before = self.0.get(&key).await?;
            let expected = match &before {
                Some(note) => Expected::Revision(note.revision),
                None => Expected::Absent,
            };
            self.0.put(&key, &text, expected).await?;
            Ok(before.map_or(Ok("new".to_owned()), |note| note.read())?)
        }

        /// The notes' names.
        #[operation(read_only)]
        async fn note_list(&self) -> Result<Vec<String>> {
            let notes = self.0.list(None, 100).await?;
            Ok(notes.into_iter().map(|note| note.key).collect())
        }

        /// Make a note twice.
        #[operation]
        async fn note_race(&self) -> Result<()> {
            self.0.put("race", &1, Expected::Absent).await?;
            self.0.put("race", &2, Expected::Absent).await?;
            Ok(())
        }
    }
}
