//! Where an operation's jobs run, on a server that knows others.
//!
//! An operation that is `placed` takes, beside its own input, the field `hive_id`: the machine to run
//! on. Which machines there are, and how a job gets to them, a plugin knows that intercepts jobs; this
//! is what such a plugin and everyone else agree on. A handler runs where its job has been brought
//! to, and never sees the field.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{OperationError, Result};
use crate::operation::OperationSpec;

/// The input's field that names a hive.
pub const HIVE_ID: &str = "hive_id";

/// The name that every server has for itself as a hive.
pub const LOCALHOST: &str = "localhost";

/// The longest part of an unknown name that is quoted back, characters.
const MAX_QUOTED: usize = 100;

/// Where the jobs of an operation run that say nothing of it: `#[operation(placed)]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// On the server that was asked.
    Here,
    /// Where the model is that a field of the input names; on the server that was asked if nowhere.
    WithModel(String),
    /// Where the model is that a field of the input names; on any hive if nowhere.
    WithModelOrAnywhere(String),
}

impl Placement {
    /// The field of the input that has a model's id.
    pub fn model_field(&self) -> Option<&str> {
        match self {
            Self::Here => None,
            Self::WithModel(field) | Self::WithModelOrAnywhere(field) => Some(field),
        }
    }
}

/// Makes the operation a placed one: its schema gets the field.
pub(crate) fn place(spec: &mut OperationSpec, placement: Placement) {
    let field = match &placement {
        Placement::Here => json!({
            "description": "The hive to run on; the server that is asked if absent.",
            "type": "string",
            "default": LOCALHOST,
        }),
        Placement::WithModel(_) | Placement::WithModelOrAnywhere(_) => json!({
            "description": "The hive to run on; if absent, the server chooses one, by where the \
                            model is. `localhost` is the server that is asked.",
            "type": "string",
        }),
    };
    if let Some(schema) = spec.input_schema.as_object_mut() {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(HIVE_ID.to_owned(), field);
        }
    }
    spec.placement = Some(placement);
}

/// The input of a placed operation's handler: without the field, which must name this machine.
///
/// # Errors
/// `unknown-hive` if it names another: nothing here knows how to get there.
pub(crate) fn arrive(mut input: Value) -> Result<Value> {
    let named = input.as_object_mut().and_then(|fields| fields.remove(HIVE_ID));
    match named {
        None | Some(Value::Null) => Ok(input),
        Some(Value::String(hive)) if hive == LOCALHOST => Ok(input),
        Some(hive) => {
            let hive: String = hive.as_str().unwrap_or_default().chars().take(MAX_QUOTED).collect();
            let detail = format!(
                "no hive is called `{hive}`: this server knows itself alone, as `{LOCALHOST}` (the \
                 plugin `hive`, crate skep-hive, is not linked into it)"
            );
            Err(OperationError::new("unknown-hive", detail).with_status(404))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_there_for_clients_and_gone_for_the_handler() {
        let mut spec = OperationSpec::new("mill_grind", "Grind");
        place(&mut spec, Placement::Here);
        assert_eq!(spec.input_schema["properties"][HIVE_ID]["default"], LOCALHOST);
        for here in [json!({ "a": 1 }), json!({ "a": 1, "hive_id": "localhost" })] {
            assert_eq!(arrive(here).unwrap(), json!({ "a": 1 }));
        }
        let error = arrive(json!({ "hive_id": "gpu-1" })).unwrap_err();
        assert_eq!((&*error.problem().code, error.problem().status), ("unknown-hive", 404));
        assert!(error.to_string().contains("`gpu-1`"), "{error}");
    }
}
