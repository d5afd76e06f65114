//! Where an operation runs.

/// A hive's name. This machine is the only one until there is a family of hives.
#[skep::data]
#[derive(Clone, Copy, Default)]
#[schemars(inline)]
pub(crate) enum HiveId {
    // A doc comment here would make a `oneOf` of the schema, whose errors say nothing.
    #[default]
    #[serde(rename = "localhost")]
    Localhost,
}
