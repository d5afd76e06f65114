//! What the macros' code refers to. Not for people.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use async_trait::async_trait;
pub use inventory;
pub use schemars;
pub use serde;
pub use serde_json;

use crate::error::{OperationError, Result};
use crate::problem::{Code, Problem};

/// Reads a handler's input, which has passed the schema.
pub fn read_input<T: DeserializeOwned>(input: Value) -> Result<T> {
    // What the schema can't say, a type of the author's own may still refuse.
    serde_json::from_value(input)
        .map_err(|error| Problem::new(Code::InvalidInput, error.to_string()).into())
}

/// Writes a handler's result.
pub fn write_output<T: Serialize, E: Into<OperationError>>(result: Result<T, E>) -> Result<Value> {
    match result {
        Ok(output) => Ok(serde_json::to_value(output)?),
        Err(error) => Err(error.into()),
    }
}

/// The configuration of a plugin that has none.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
