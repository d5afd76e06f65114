//! The public schemas of a test's operations, held against a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::operation::OperationSpec;

/// The variable that has the file written.
const UPDATE: &str = "UPDATE_SPECS";

/// Panics if `specs` aren't those in the file at `path`.
pub(super) fn assert(specs: &[Arc<OperationSpec>], path: &Path) {
    let served: Map<String, Value> =
        specs.iter().map(|spec| (spec.name.clone(), json!(**spec))).collect();
    let served = Value::Object(served);
    if std::env::var_os(UPDATE).is_some() {
        let text = format!("{served:#}\n");
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| std::fs::write(path, text));
        return written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let how = format!("`{UPDATE}=1 cargo test` writes it");
    let kept = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("the specs' file {}: {error}; {how}", path.display()),
    };
    let kept: Value = serde_json::from_str(&kept)
        .unwrap_or_else(|error| panic!("the specs' file {}: {error}; {how}", path.display()));
    let mut differences = Vec::new();
    compare("", Some(&kept), Some(&served), &mut differences);
    assert!(
        differences.is_empty(),
        "the operations are not as {} has them; if that is meant, {how}\n{}",
        path.display(),
        differences.join("\n")
    );
}

/// Tells each place, by its JSON Pointer, where `now` isn't what it was.
fn compare(at: &str, was: Option<&Value>, now: Option<&Value>, differences: &mut Vec<String>) {
    match (was, now) {
        (Some(Value::Object(was)), Some(Value::Object(now))) => {
            let names: BTreeSet<_> = was.keys().chain(now.keys()).collect();
            for name in names {
                compare(&format!("{at}/{name}"), was.get(name), now.get(name), differences);
            }
        }
        (was, now) if was == now => {}
        (Some(was), Some(now)) => differences.push(format!("  {at}: was {was}, is {now}")),
        (Some(was), None) => differences.push(format!("  {at}: was {was}, is gone")),
        (None, Some(now)) => differences.push(format!("  {at}: is new, {now}")),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_that_changed_is_told() {
        let was = json!({ "a": { "required": ["x"], "same": 1 }, "b": true });
        let now = json!({ "a": { "required": ["x", "y"], "same": 1 }, "c": null });
        let mut differences = Vec::new();
        compare("", Some(&was), Some(&now), &mut differences);
        assert_eq!(
            differences,
            [
                r#"  /a/required: was ["x"], is ["x","y"]"#,
                "  /b: was true, is gone",
                "  /c: is new, null",
            ]
        );
    }
}
