//! An operation's input from the command line: one JSON object, or fields.

use serde_json::{Map, Value};

use crate::cli::Error;

/// Reads `JSON`, or `field=value` one by one. A value is JSON, or else a text; where `schema` says
/// that the field is a text, it is one as it stands.
pub(super) fn parse(arguments: &[String], schema: &Value) -> Result<Map<String, Value>, Error> {
    if let [json] = arguments
        && json.trim_start().starts_with('{')
    {
        return Ok(serde_json::from_str(json)?);
    }
    let mut input = Map::new();
    for argument in arguments {
        let Some((field, value)) = argument.split_once('=') else {
            return Err(format!("`{argument}` is neither field=value nor a JSON object").into());
        };
        let value = if is_text(schema, field) {
            Value::from(value)
        } else {
            serde_json::from_str(value).unwrap_or_else(|_| value.into())
        };
        if input.insert(field.to_owned(), value).is_some() {
            return Err(format!("`{field}` is given twice").into());
        }
    }
    Ok(input)
}

/// Whether `schema` takes nothing but a text, or nothing at all, for `field`.
fn is_text(schema: &Value, field: &str) -> bool {
    let mut field = &schema["properties"][field];
    if let Some(name) = field["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        field = &schema["$defs"][name];
    }
    match &field["type"] {
        Value::String(only) => only == "string",
        Value::Array(types) => types.iter().all(|one| one == "string" || one == "null"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Value, String> {
        let schema = json!({ "properties": {
            "id": { "type": ["string", "null"] }, "count": { "type": "integer" },
        } });
        let arguments: Vec<_> = arguments.iter().map(|one| (*one).to_owned()).collect();
        parse(&arguments, &schema).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_json_or_text_as_the_schema_says() {
        assert_eq!(
            read(&["id=42", "count=3", "value=[1, 2]", "name=Ada=1"]),
            Ok(json!({ "id": "42", "count": 3, "value": [1, 2], "name": "Ada=1" }))
        );
        assert_eq!(read(&["{\"a\": 1}"]), Ok(json!({ "a": 1 })));
        assert_eq!(read(&[]), Ok(json!({})));
    }

    #[test]
    fn what_is_neither_is_named() {
        assert!(read(&["count"]).unwrap_err().contains("`count`"));
        assert!(read(&["a=1", "a=2"]).unwrap_err().contains("twice"));
        assert!(read(&["{\"a\": "]).is_err());
    }
}
