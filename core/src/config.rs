//! The engine's configuration.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::schema::{DurationText, SizeText};

/// What [`Router::start`](crate::Router::start) needs to know.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The limits of jobs.
    pub jobs: JobsConfig,
    /// Which operations are served.
    pub operations: OperationsConfig,
    /// Where plugins keep their files: each gets a directory of its own below it, when it asks.
    pub data_dir: PathBuf,
    /// The plugins' tables, by their names. Each may have `enabled = false` beside the plugin's own
    /// keys.
    pub plugins: Map<String, Value>,
}

/// Which operations are served: `[operations]` in the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OperationsConfig {
    /// The names of those that are not, as if they weren't linked: `model_delete`, `worker_*`.
    pub deny: Vec<String>,
}

/// The limits of jobs: `[jobs]` in the configuration.
///
/// Durations are written as `"5s"` or `"1h 30m"`, sizes as `"64MiB"` or in bytes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JobsConfig {
    /// How large one job's log may grow; its result, and all that it keeps for later attempts, may be
    /// as large each.
    #[serde(serialize_with = "size_text")]
    #[schemars(with = "SizeText")]
    pub max_log: ByteSize,
    /// How much memory the memory store may use for all jobs.
    #[serde(serialize_with = "size_text")]
    #[schemars(with = "SizeText")]
    pub memory: ByteSize,
    /// How many jobs run at once; jobs that others call run in their callers' places.
    pub max_running: usize,
    /// How many jobs may wait: for a place, for their time, or for their first reader; a further one
    /// is refused.
    pub max_queued: usize,
    /// How much memory the inputs of the jobs that wait may take together; a further job is refused.
    #[serde(serialize_with = "size_text")]
    #[schemars(with = "SizeText")]
    pub max_queued_input: ByteSize,
    /// How often a job may be running when its server crashes before it's given up.
    pub max_attempts: u32,
    /// How long a cancelled handler may take to finish before it's aborted.
    #[serde(deserialize_with = "duration", serialize_with = "duration_text")]
    #[schemars(with = "DurationText")]
    pub cancel_grace: Duration,
    /// How long an ended job is kept, if it isn't forgotten earlier for one of the next two limits.
    #[serde(deserialize_with = "duration", serialize_with = "duration_text")]
    #[schemars(with = "DurationText")]
    pub retention: Duration,
    /// How many ended jobs are kept.
    pub max_kept: u64,
    /// How large the jobs that are kept may be together, with their logs. Those that haven't ended
    /// count, but stay.
    #[serde(serialize_with = "size_text")]
    #[schemars(with = "SizeText")]
    pub max_stored: ByteSize,
    /// How long a job that starts with its first reader waits for one.
    #[serde(deserialize_with = "duration", serialize_with = "duration_text")]
    #[schemars(with = "DurationText")]
    pub unclaimed_ttl: Duration,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            max_log: ByteSize::mib(64),
            memory: ByteSize::mib(512),
            max_running: 512,
            max_queued: 10_000,
            max_queued_input: ByteSize::mib(256),
            max_attempts: 3,
            cancel_grace: Duration::from_secs(5),
            retention: Duration::from_hours(24),
            max_kept: 1_000_000,
            max_stored: ByteSize::gib(16),
            unclaimed_ttl: Duration::from_mins(1),
        }
    }
}

/// Reads a duration as people write it: `"30s"`, `"1h 30m"`, or ISO 8601's `"PT30S"`.
///
/// # Errors
/// What is wrong with the text; a negative duration is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is not a duration such as `30s` or `1m 30s`"))?;
    Duration::try_from(parsed).map_err(|_| format!("`{text}` is negative"))
}

/// Reads a duration, as `#[serde(deserialize_with)]` wants it.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Writes a duration as people do, as `#[serde(serialize_with)]` wants it.
pub(crate) fn duration_text<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    // What is longer than the calendar can't be meant.
    to.collect_str(&format_args!(
        "{:#}",
        SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX)
    ))
}

/// Writes a size as people do, in the largest unit that it's a whole number of.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field by reference")]
pub(crate) fn size_text<S: Serializer>(size: &ByteSize, to: S) -> Result<S::Ok, S::Error> {
    let bytes = size.as_u64();
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => to.collect_str(&format_args!("{}{name}", bytes / unit)),
        None => to.serialize_u64(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_it_was_written() {
        for bytes in [0, 1, 1_500_000, 64 << 20, 1 << 40, 3 << 30, u64::MAX] {
            let text = serde_json::to_value(SizeText(bytes)).unwrap();
            let read: SizeText = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(read.0, bytes, "{text}");
        }
        assert_eq!(serde_json::to_value(SizeText(64 << 20)).unwrap(), "64MiB");
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("soon").unwrap_err().contains("`soon`"));
    }
}
