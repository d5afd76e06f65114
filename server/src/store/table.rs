//! A store's table of the configuration, held against its schema.

use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;
use skep::nearest;

/// Checks `table`. Fails with all that is wrong, in one line.
pub(super) fn check(schema: &Value, table: &Value) -> Result<(), String> {
    let validator = jsonschema::draft202012::new(schema).map_err(|error| error.to_string())?;
    let errors: Vec<_> =
        validator.iter_errors(table).map(|error| describe(&error, schema, table)).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

fn describe(error: &ValidationError<'_>, schema: &Value, table: &Value) -> String {
    let at = error.instance_path().as_str();
    let unknown: Vec<&str> = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(String::as_str).collect()
        }
        // Of a table that has no keys at all the validator says no more than this.
        ValidationErrorKind::FalseSchema if at.is_empty() => {
            table.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
        }
        _ if at.is_empty() => return error.to_string(),
        _ => return format!("`{}`: {error}", at.trim_start_matches('/').replace('/', ".")),
    };
    let known = || {
        let properties = schema["properties"].as_object();
        properties.into_iter().flatten().map(|(key, _)| key.as_str())
    };
    let lines = unknown.iter().map(|key| match nearest(key, known()) {
        Some(near) if at.is_empty() => format!("unknown key `{key}`, did you mean `{near}`?"),
        _ => format!("unknown key `{key}`"),
    });
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_wrong_is_told_in_one_line() {
        let schema = json!({
            "type": "object",
            "properties": { "pages": { "type": "integer" }, "path": { "type": "string" } },
            "additionalProperties": false,
        });
        assert_eq!(check(&schema, &json!({ "pages": 1 })), Ok(()));
        assert_eq!(
            check(&schema, &json!({ "pages": "x", "pth": "y", "other": 1 })),
            Err("`pages`: \"x\" is not of type \"integer\"; unknown key `other`; unknown key \
                 `pth`, did you mean `path`?"
                .to_owned())
        );
    }

    #[test]
    fn a_table_without_keys_takes_none() {
        let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        assert_eq!(check(&schema, &json!({ "a": 1 })), Err("unknown key `a`".to_owned()));
    }
}
