//! How a server finds the store: `--store sqlite`.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use skep::plugin::{StoreContext, StoreRegistration};
use skep::store::Store;
use skep::{OperationError, Result};
use tokio::task::spawn_blocking;

use crate::error::OpenError;
use crate::store::SqliteStore;
use crate::{backup, check};

const NAME: &str = "sqlite";

inventory::submit! {
    StoreRegistration {
        name: NAME,
        summary: "Keeps jobs in a database and files in the data directory",
        package: skep::package!(),
        config_schema,
        open: |context| Box::pin(open(context)),
        check: |context| Box::pin(on_data_dir(context, |data_dir| check::check(&data_dir))),
        backup: |context, to| {
            Box::pin(on_data_dir(context, move |data_dir| backup::backup(&data_dir, &to)))
        },
    }
}

/// `[plugins.sqlite]`: there's nothing to choose.
#[skep::data]
struct Config {}

fn config_schema() -> Value {
    skep::schema::input_schema::<Config>()
}

async fn open(context: StoreContext) -> Result<Arc<dyn Store>> {
    on_data_dir(context, |data_dir| {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data_dir)?);
        Ok(store)
    })
    .await
}

async fn on_data_dir<T: Send + 'static>(
    context: StoreContext,
    run: impl FnOnce(PathBuf) -> Result<T, OpenError> + Send + 'static,
) -> Result<T> {
    if context.address != NAME {
        return Err(OpenError::Address(context.address).into());
    }
    let running = spawn_blocking(move || run(context.data_dir));
    let result = running.await.map_err(|_| OperationError::message("the store panicked"))?;
    Ok(result?)
}
