//! What is linked into a program.

use std::sync::Arc;

use crate::operation::OperationHandler;
use crate::plugin::{
    CommandRegistration, OperationRegistration, PluginRegistration, StoreRegistration,
};

inventory::collect!(StoreRegistration);
inventory::collect!(PluginRegistration);
inventory::collect!(OperationRegistration);
inventory::collect!(CommandRegistration);

/// What has been linked into this program, or a selection of one's own.
///
/// A crate that is a dependency but is never named is not linked: the linker drops it. `use
/// my_plugin as _;` names it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Linked {
    /// The plugins, by name.
    pub plugins: Vec<&'static PluginRegistration>,
    /// The operations without state, in no particular order.
    pub operations: Vec<&'static OperationRegistration>,
    /// Operations that the program makes itself. Each takes the place of a linked one of its name.
    pub handlers: Vec<Arc<dyn OperationHandler>>,
}

impl Linked {
    /// All that is linked into this program.
    pub fn all() -> Self {
        let mut plugins: Vec<_> = inventory::iter::<PluginRegistration>().collect();
        // The linker's order is nobody's wish; the order of names is at least the same on every
        // machine.
        plugins.sort_by_key(|plugin| (plugin.name, plugin.package.name));
        let operations = inventory::iter::<OperationRegistration>().collect();
        Self { plugins, operations, handlers: Vec::new() }
    }

    /// The stores that plugins contribute, by name.
    pub fn stores() -> Vec<&'static StoreRegistration> {
        let mut stores: Vec<_> = inventory::iter::<StoreRegistration>().collect();
        stores.sort_by_key(|store| store.name);
        stores
    }

    /// The commands that plugins contribute, by name.
    pub fn commands() -> Vec<&'static CommandRegistration> {
        let mut commands: Vec<_> = inventory::iter::<CommandRegistration>().collect();
        commands.sort_by_key(|command| command.name);
        commands
    }
}
