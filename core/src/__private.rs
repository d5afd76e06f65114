//! What the macros' code refers to. Not for people.

#![allow(missing_docs, reason = "not for people")]

use ::schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use async_trait::async_trait;
pub use inventory;
pub use schemars;
pub use serde;
pub use serde_json;

use crate::error::{OperationError, Result};
use crate::operation::OperationSpec;
use crate::placement;
use crate::problem::{Code, Problem};
use crate::schema;

/// What an operation's input, and each of its fields, has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the input of an operation",
    label = "it can't be read from JSON, or has no JSON Schema",
    note = "put `#[skep::data]` on a type of your own"
)]
pub trait Parameter: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Parameter for T {}

/// What an operation's result and the events that it emits have to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the output of an operation",
    label = "it can't be written as JSON, or has no JSON Schema",
    note = "put `#[skep::data]` on a type of your own"
)]
pub trait Output: Serialize + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema> Output for T {}

/// What a plugin's configuration has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the configuration of a plugin",
    label = "it can't be read from the configuration, or has no JSON Schema",
    note = "put `#[skep::data]` on the type"
)]
pub trait Configuration: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Configuration for T {}

/// What the state of a plugin has to be that has no `start`.
#[diagnostic::on_unimplemented(
    message = "the plugin `{Self}` has no `start`, and no `Default` to do without",
    label = "how is its state made?",
    note = "write `async fn start(cx: PluginContext<...>) -> Result<Self>`, or derive `Default`"
)]
pub trait DefaultState: Default {}

#[diagnostic::do_not_recommend]
impl<T: Default> DefaultState for T {}

/// Only compiles for what can be a field.
pub fn is_parameter<T: Parameter>() {}

pub fn input_schema<T: Parameter>() -> Value {
    schema::input_schema::<T>()
}

pub fn output_schema<T: Output>() -> Value {
    schema::output_schema::<T>()
}

pub fn config_schema<T: Configuration>() -> Value {
    schema::input_schema::<T>()
}

pub fn place(spec: &mut OperationSpec, placement: placement::Placement) {
    placement::place(spec, placement);
}

pub fn arrive(input: Value) -> Result<Value> {
    placement::arrive(input)
}

pub fn default_state<T: DefaultState>() -> T {
    T::default()
}

/// Reads a handler's input, which has passed the schema.
pub fn read_input<T: Parameter>(input: Value) -> Result<T> {
    // To JSON Schema 7.0 is an integer, to serde it's none.
    let integers = has_whole_floats(&input).then(|| with_integers(input.clone()));
    let read = serde_json::from_value(input);
    let read = match (read, integers) {
        (Err(_), Some(integers)) => serde_json::from_value(integers),
        (read, _) => read,
    };
    // What the schema can't say, a type of the author's own may still refuse.
    read.map_err(|error| Problem::new(Code::InvalidInput, error.to_string()).into())
}

fn whole_float(value: &Value) -> Option<i64> {
    let float = value.as_f64().filter(|_| value.is_f64())?;
    // Beyond this a float isn't exact, and neither is what was meant.
    let whole = float.fract() == 0.0 && float.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation, reason = "it's whole and in range")]
    whole.then_some(float as i64)
}

fn has_whole_floats(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_whole_floats),
        Value::Object(fields) => fields.values().any(has_whole_floats),
        value => whole_float(value).is_some(),
    }
}

fn with_integers(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(with_integers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, with_integers(value))).collect()
        }
        value => whole_float(&value).map_or(value, Value::from),
    }
}

/// Writes a handler's result.
pub fn write_output<T: Output, E: Into<OperationError>>(result: Result<T, E>) -> Result<Value> {
    match result {
        Ok(output) => Ok(serde_json::to_value(output)?),
        Err(error) => Err(error.into()),
    }
}
