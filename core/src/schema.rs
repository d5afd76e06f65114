//! JSON Schemas: made from Rust types, and held against inputs.

mod text;

use std::collections::BTreeMap;
use std::fmt;

use jsonschema::error::{ValidationError, ValidationErrorKind};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::text::{DurationText, SizeText};
use crate::suggest::nearest;

/// How many errors of one input are told: a client's array of a million wrong elements has as many.
const MAX_ERRORS: usize = 100;

/// The longest detail of one input error, bytes: an input that is quoted back is cut there.
const MAX_DETAIL: usize = 300;

/// The schema (2020-12) of what `T` reads from JSON: an input.
pub fn input_schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(bound_integers))
        .with_transform(RecursiveTransform(name_aliases))
        .into_generator()
        .into_root_schema_for::<T>();
    // The name of a Rust type that most authors never wrote.
    schema.remove("title");
    schema.to_value()
}

/// The schema (2020-12) of what `T` writes as JSON: a result or an event.
pub fn output_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(forget_aliases))
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// States the ranges of 32 and 64 bit integers, which schemars names by `format` alone: an input
/// that serde would refuse must be refused by the schema, before there's a job.
fn bound_integers(schema: &mut Schema) {
    let (minimum, maximum): (Value, Value) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint32") => (0.into(), u32::MAX.into()),
        Some("uint64" | "uint") => (0.into(), u64::MAX.into()),
        _ => return,
    };
    schema.ensure_object().entry("minimum").or_insert(minimum);
    schema.ensure_object().entry("maximum").or_insert(maximum);
}

/// What the macros say of a field's former names.
const ALIASES: &str = "x-aliases";

/// Gives each field that serde takes by a former name a property of that name, which is deprecated,
/// and has one of the names given at most, or exactly one where the field is required.
fn name_aliases(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let mut former = Vec::new();
    for (name, property) in properties.iter_mut() {
        let aliases = property.as_object_mut().and_then(|property| property.remove(ALIASES));
        for alias in aliases.iter().filter_map(Value::as_array).flatten() {
            let alias = alias.as_str().unwrap_or_default().to_owned();
            let mut property = property.clone();
            if let Some(property) = property.as_object_mut() {
                property.insert("description".to_owned(), format!("Now called `{name}`.").into());
                property.insert("deprecated".to_owned(), true.into());
                // Who fills in defaults would give both names.
                property.remove("default");
            }
            former.push((name.clone(), alias, property));
        }
    }
    let mut names: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, alias, property) in former {
        names.entry(name).or_default().push(json!({ "required": [alias] }));
        properties.insert(alias, property);
    }
    for (name, mut ways) in names {
        ways.insert(0, json!({ "required": [name] }));
        let required = schema.get_mut("required").and_then(Value::as_array_mut);
        let at = required.as_ref().and_then(|names| names.iter().position(|one| *one == *name));
        match (required, at) {
            (Some(required), Some(at)) => drop(required.remove(at)),
            _ => ways.push(json!({ "not": { "anyOf": ways } })),
        }
        let all = schema.ensure_object().entry("allOf").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(json!({ "oneOf": ways }));
        }
    }
}

/// What is written has the names of today.
fn forget_aliases(schema: &mut Schema) {
    schema.remove(ALIASES);
}

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InputError {
    /// Where: a JSON Pointer (RFC 6901) into the input.
    pub pointer: String,
    /// What, and what would be right.
    pub detail: String,
}

impl InputError {
    pub(crate) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Where, and what.
impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pointer, self.detail)
    }
}

/// A compiled schema of an input, or of a table of the configuration.
///
/// ```
/// use serde_json::json;
/// use skep::schema::InputSchema;
///
/// let schema = json!({ "properties": { "path": true }, "additionalProperties": false });
/// let schema = InputSchema::compile(&schema).unwrap();
/// let errors = schema.check(&json!({ "pth": "/" })).unwrap_err();
/// assert_eq!(errors[0].pointer, "/pth");
/// assert_eq!(errors[0].detail, "is not a field, did you mean `path`?");
/// ```
pub struct InputSchema {
    validator: jsonschema::Validator,
    schema: Value,
}

impl InputSchema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// Why it isn't a schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::draft202012::options().with_keyword(text::KEYWORD, text::keyword);
        match options.build(schema) {
            Ok(validator) => Ok(Self { validator, schema: schema.clone() }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Checks `input`.
    ///
    /// # Errors
    /// All that is wrong (the first 100), in the order of the input's fields.
    pub fn check(&self, input: &Value) -> Result<(), Vec<InputError>> {
        if self.validator.is_valid(input) {
            return Ok(());
        }
        let mut errors: Vec<InputError> = self
            .validator
            .iter_errors(input)
            .flat_map(|error| self.describe(&error, input))
            .take(MAX_ERRORS)
            .collect();
        errors.dedup();
        Err(errors)
    }

    /// An error in our words. Missing and unknown fields are pointed at one by one.
    fn describe(&self, error: &ValidationError<'_>, input: &Value) -> Vec<InputError> {
        let at = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::Required { property } => vec![InputError {
                pointer: member(at, property.as_str().unwrap_or_default()),
                detail: "is required".to_owned(),
            }],
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().map(|name| self.unknown_field(at, name, error)).collect()
            }
            ValidationErrorKind::FalseSchema => {
                let Some(object) = input.pointer(at).and_then(Value::as_object) else {
                    let detail = "is not allowed here".to_owned();
                    return vec![InputError { pointer: at.to_owned(), detail }];
                };
                // Of an object that has no fields at all the validator says no more than this.
                object.keys().map(|name| self.unknown_field(at, name, error)).collect()
            }
            kind => vec![match (kind, self.names(error)) {
                (ValidationErrorKind::OneOfNotValid { .. }, Some((name, _))) => {
                    InputError::new(member(at, name), "is required")
                }
                (ValidationErrorKind::OneOfMultipleValid { .. }, Some((name, former))) => {
                    let detail = format!("is a former name of `{name}`: give one of the two");
                    InputError::new(member(at, former), detail)
                }
                _ => InputError::new(at, shorten(error.to_string())),
            }],
        }
    }

    fn unknown_field(&self, at: &str, name: &str, error: &ValidationError<'_>) -> InputError {
        let detail = match nearest(name, self.fields(error)) {
            Some(near) => format!("is not a field, did you mean `{near}`?"),
            None => "is not a field".to_owned(),
        };
        InputError { pointer: member(at, name), detail }
    }

    /// A field's name and its first former one, where it's their rule of [`name_aliases`] that was
    /// broken.
    fn names(&self, error: &ValidationError<'_>) -> Option<(&str, &str)> {
        let path = error.schema_path().as_str();
        let ways = self.schema.pointer(path)?.as_array()?;
        let name = |at: usize| ways.get(at)?.get("required")?.get(0)?.as_str();
        let (name, former) = (name(0)?, name(1)?);
        let (object, _) = path.rsplit_once("/allOf/")?;
        let property = self.schema.pointer(&format!("{object}/properties/{former}"))?;
        (*property.get("deprecated")? == true).then_some((name, former))
    }

    /// The fields that the schema has where an unknown one was found.
    fn fields(&self, error: &ValidationError<'_>) -> impl Iterator<Item = &str> {
        // `.../additionalProperties` stands beside `.../properties`.
        let path = error.schema_path().as_str();
        let object = path.rsplit_once('/').map_or("", |(object, _)| object);
        let properties = self.schema.pointer(&format!("{object}/properties"));
        properties.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
    }
}

/// The pointer to `name` under `parent`, escaped by RFC 6901 section 3.
fn member(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn shorten(mut detail: String) -> String {
    if detail.len() > MAX_DETAIL {
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        detail.push_str("...");
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &Value) -> Vec<(String, String)> {
        let schema = json!({
            "type": "object",
            "properties": {
                "max_tokens": { "type": "integer", "minimum": 1 },
                "prompt": { "type": "string" },
                "a/b": { "type": "object", "additionalProperties": false },
                "never": false,
            },
            "required": ["prompt"],
            "additionalProperties": false,
        });
        let schema = InputSchema::compile(&schema).unwrap();
        let errors = schema.check(input).err().unwrap_or_default();
        errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
    }

    #[test]
    fn all_errors_are_told_at_once_with_pointers() {
        let input = json!({ "max_tokens": 0, "promt": "Hi", "a/b": { "x": 1 }, "never": 1 });
        let mut errors = check(&input);
        errors.sort();
        assert_eq!(
            errors,
            [
                ("/a~1b/x".into(), "is not a field".into()),
                ("/max_tokens".into(), "0 is less than the minimum of 1".into()),
                ("/never".into(), "is not allowed here".into()),
                ("/prompt".into(), "is required".into()),
                ("/promt".into(), "is not a field, did you mean `prompt`?".into()),
            ] as [(String, String); 5]
        );
    }

    #[test]
    fn a_long_value_is_not_quoted_back_whole() {
        let errors = check(&json!({ "prompt": ["x".repeat(10_000)] }));
        assert!(errors[0].1.len() < MAX_DETAIL + 10, "{}", errors[0].1.len());
    }

    #[test]
    fn integers_are_bounded_as_their_types_are() {
        let schema = InputSchema::compile(&input_schema::<Vec<u32>>()).unwrap();
        assert!(schema.check(&json!([u32::MAX])).is_ok());
        assert!(schema.check(&json!([u64::from(u32::MAX) + 1])).is_err());
    }
}
