//! Texts that say more than their characters: durations and sizes.
//!
//! JSON Schema can't tell which texts they are, so the schemas of their fields have a keyword for it,
//! which [`InputSchema`](crate::schema::InputSchema) holds them against.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use bytesize::ByteSize;
use jsonschema::{Keyword, ValidationError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::config::{duration, duration_text, parse_duration, size_text};

/// The keyword that says how a text is read.
pub(super) const KEYWORD: &str = "x-text";

const DURATION: &str = "duration";
const SIZE: &str = "size";

/// A duration as people write it, such as `"30s"`, in a configuration or an input.
///
/// ```
/// use std::time::Duration;
///
/// use skep::schema::DurationText;
///
/// #[skep::data]
/// struct Config {
///     /// How long a call may take.
///     timeout: DurationText,
/// }
/// let config: Config = serde_json::from_str(r#"{ "timeout": "1m 30s" }"#).unwrap();
/// assert_eq!(*config.timeout, Duration::from_secs(90));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// A number of bytes in a configuration or an input: `"64MiB"`, or the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeText(pub u64);

impl Deref for DurationText {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl Deref for SizeText {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        duration_text(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration(deserializer).map(Self)
    }
}

impl Serialize for SizeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        size_text(&ByteSize::b(self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteSize::deserialize(deserializer).map(|size| Self(size.as_u64()))
    }
}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", KEYWORD: DURATION })
    }
}

impl JsonSchema for SizeText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, KEYWORD: SIZE })
    }
}

/// How a text is read: what the keyword says.
struct Text(fn(&str) -> Result<(), String>);

/// Makes the keyword's check from its value.
pub(super) fn keyword<'a>(
    _: &'a Map<String, Value>,
    kind: &'a Value,
    _: jsonschema::paths::Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    match kind.as_str() {
        Some(DURATION) => Ok(Box::new(Text(|text| parse_duration(text).map(drop)))),
        Some(SIZE) => Ok(Box::new(Text(|text| match text.parse::<ByteSize>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`{text}` is not a size such as `64MiB`")),
        }))),
        _ => {
            let message = format!("`{KEYWORD}` is `{DURATION}` or `{SIZE}`, not {kind}");
            Err(ValidationError::custom(message))
        }
    }
}

impl<'i> Keyword<'i> for Text {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        instance.as_str().map_or(Ok(()), self.0).map_err(ValidationError::custom)
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_str().is_none_or(|text| self.0(text).is_ok())
    }
}
