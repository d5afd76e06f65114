//! Where a server keeps its jobs: a store by its name, among those that are linked.
//!
//! The memory store is one of them, so that nothing here asks which store it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skep::plugin::{Linked, Package, StoreContext, StoreRegistration};
use skep::store::{MemoryStore, Store};
use skep::{OperationError, StartError, nearest};

use crate::config::Config;

/// The store of a server that is told none, if it's linked.
const DEFAULT: &str = "sqlite";

/// The store that every program has.
static MEMORY: StoreRegistration = StoreRegistration {
    name: "memory",
    summary: "Keeps jobs in memory, until the server ends",
    package: skep::package!(),
    config_schema: || json!({ "type": "object", "properties": {}, "additionalProperties": false }),
    open: |context| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(context.jobs.memory.as_u64()));
        Box::pin(async { Ok(store) })
    },
    check: |_| Box::pin(async { Ok("nothing to check: it ends with its server".to_owned()) }),
    backup: |_, _| {
        Box::pin(async { Err(OperationError::message("nothing to copy: it ends with its server")) })
    },
};

/// The stores of this program, by name.
pub(crate) fn linked() -> Vec<&'static StoreRegistration> {
    let mut stores = Linked::stores();
    stores.push(&MEMORY);
    stores.sort_by_key(|store| store.name);
    stores
}

/// The store that a configuration asks for, not opened yet.
pub(crate) struct ChosenStore {
    registration: &'static StoreRegistration,
    context: StoreContext,
}

/// Why there is no store to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChooseError {
    #[error(
        "there is no store `{name}`{}; this program has {}",
        .did_you_mean.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default(),
        .linked.join(", ")
    )]
    Unknown { name: String, did_you_mean: Option<String>, linked: Vec<&'static str> },
    #[error("the store `memory` has no address: `{0}` is too much")]
    Addressed(String),
    #[error(transparent)]
    Plugins(#[from] StartError),
    #[error("the data directory: {0}")]
    DataDir(#[from] std::io::Error),
}

/// What a store did not do.
#[derive(Debug, thiserror::Error)]
#[error("store `{name}` ({package}): {reason}")]
pub(crate) struct StoreFailed {
    name: &'static str,
    package: Package,
    reason: String,
}

impl ChosenStore {
    /// The store that `config` asks for. The tables of all stores are taken out of `config`: what is
    /// left is the plugins'. The data directory's path is made absolute.
    pub(crate) fn of(config: &mut Config) -> Result<Self, ChooseError> {
        let stores = linked();
        config.server.data_dir = std::path::absolute(&config.server.data_dir)?;
        let mut tables = take_tables(&stores, &mut config.plugins)?;
        let address = match &config.server.store {
            Some(address) => address.clone(),
            None if stores.iter().any(|store| store.name == DEFAULT) => DEFAULT.to_owned(),
            None => MEMORY.name.to_owned(),
        };
        let name = address.split(':').next().unwrap_or_default();
        let registration = find(&stores, name)?;
        if registration.name == MEMORY.name && address != MEMORY.name {
            return Err(ChooseError::Addressed(address));
        }
        let mut context = StoreContext::new(address.as_str(), &config.server.data_dir);
        context.config = tables.remove(name).unwrap_or(context.config);
        context.jobs = config.jobs.clone();
        Ok(Self { registration, context })
    }

    /// The store's name.
    pub(crate) fn name(&self) -> &'static str {
        self.registration.name
    }

    /// Opens the store.
    pub(crate) async fn open(self) -> Result<Arc<dyn Store>, StoreFailed> {
        let registration = self.registration;
        (registration.open)(self.context).await.map_err(|error| failed(registration, &error))
    }

    /// Looks for damage; says what was looked at.
    pub(crate) async fn check(self) -> Result<String, StoreFailed> {
        let registration = self.registration;
        (registration.check)(self.context).await.map_err(|error| failed(registration, &error))
    }

    /// Copies the store into the directory `to`, which is made; says what was copied.
    pub(crate) async fn backup(self, to: &Path) -> Result<String, StoreFailed> {
        let registration = self.registration;
        let backed_up = match absent(to) {
            Ok(to) => (registration.backup)(self.context, to).await,
            Err(error) => Err(error),
        };
        backed_up.map_err(|error| failed(registration, &error))
    }
}

fn failed(store: &StoreRegistration, error: &OperationError) -> StoreFailed {
    StoreFailed { name: store.name, package: store.package, reason: error.to_string() }
}

/// The path of a directory that isn't there: a backup never writes over anything.
fn absent(path: &Path) -> skep::Result<PathBuf> {
    if path.symlink_metadata().is_ok() {
        let path = path.display();
        return Err(OperationError::message(format!("{path} is there already, name a new one")));
    }
    Ok(std::path::absolute(path)?)
}

fn find(
    stores: &[&'static StoreRegistration],
    name: &str,
) -> Result<&'static StoreRegistration, ChooseError> {
    let names = || stores.iter().map(|store| store.name);
    stores.iter().find(|store| store.name == name).copied().ok_or_else(|| ChooseError::Unknown {
        name: name.to_owned(),
        did_you_mean: nearest(name, names()).map(str::to_owned),
        linked: names().collect(),
    })
}

/// Takes the tables of `stores` out of `tables`, which have been checked.
fn take_tables(
    stores: &[&'static StoreRegistration],
    tables: &mut Map<String, Value>,
) -> Result<Map<String, Value>, ChooseError> {
    let plugins = Linked::all().plugins;
    let owners = || {
        let stores = stores.iter().map(|store| (store.name, store.package));
        stores.chain(plugins.iter().map(|plugin| (plugin.name, plugin.package)))
    };
    let mut taken = Map::new();
    for (at, store) in stores.iter().enumerate() {
        // Two owners of one table: it can't be for both.
        if let Some((name, second)) = owners().skip(at + 1).find(|(name, _)| *name == store.name) {
            return Err(StartError::DuplicatePlugin { name, first: store.package, second }.into());
        }
        taken.extend(tables.remove_entry(store.name));
    }
    Ok(taken)
}
