//! The order in which plugins start.

use crate::plugin::PluginRegistration;
use crate::router::StartError;

/// `plugins` in the order of their starts: each after those that it names, else as they come.
///
/// A plugin that isn't there is waited for by nobody.
pub(crate) fn in_order(
    plugins: &[&'static PluginRegistration],
) -> Result<Vec<&'static PluginRegistration>, StartError> {
    let mut ordered = Vec::with_capacity(plugins.len());
    let mut path = Vec::new();
    for plugin in plugins {
        visit(plugin, plugins, &mut path, &mut ordered)?;
    }
    Ok(ordered)
}

/// Appends `plugin` to `ordered`, and before it all that it starts after. `path` is who waits for it.
fn visit(
    plugin: &'static PluginRegistration,
    plugins: &[&'static PluginRegistration],
    path: &mut Vec<&'static str>,
    ordered: &mut Vec<&'static PluginRegistration>,
) -> Result<(), StartError> {
    if ordered.iter().any(|done| done.name == plugin.name) {
        return Ok(());
    }
    let begun = path.iter().position(|name| *name == plugin.name);
    path.push(plugin.name);
    if let Some(begun) = begun {
        return Err(StartError::PluginCycle(path[begun..].join(" -> ")));
    }
    for name in plugin.after {
        if let Some(earlier) = plugins.iter().find(|other| other.name == *name) {
            visit(earlier, plugins, path, ordered)?;
        }
    }
    path.pop();
    ordered.push(plugin);
    Ok(())
}
