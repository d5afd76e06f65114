//! `[plugins.hive]`.

use std::path::PathBuf;
use std::time::Duration;

use skep::prelude::*;
use skep::schema::DurationText;

/// How hives tell that they are alive, and how they are reached.
#[skep::data]
#[derive(Clone)]
#[serde(default)]
pub(crate) struct Config {
    /// How often this server tells how it is.
    pub(crate) heartbeat: DurationText,
    /// A hive that has told nothing for so long is `late`: others are preferred.
    pub(crate) late_after: DurationText,
    /// A hive that has told nothing for so long is `offline`: no job goes there, and those that are
    /// there are given up.
    pub(crate) offline_after: DurationText,
    /// How long a hive that is started may take to answer.
    pub(crate) start_timeout: DurationText,
    /// The configuration of `ssh`, in place of the user's own.
    #[allow(clippy::struct_field_names, reason = "it's the configuration of another program")]
    pub(crate) ssh_config: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: DurationText(Duration::from_secs(2)),
            late_after: DurationText(Duration::from_secs(5)),
            offline_after: DurationText(Duration::from_secs(10)),
            start_timeout: DurationText(Duration::from_mins(1)),
            ssh_config: None,
        }
    }
}

impl Config {
    /// # Errors
    /// If the times contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        if self.heartbeat.is_zero() {
            return Err(OperationError::message("`heartbeat` is 0: a hive would tell without end"));
        }
        if *self.late_after <= *self.heartbeat || *self.offline_after <= *self.late_after {
            let detail = "`heartbeat`, `late_after` and `offline_after` must grow in this order";
            return Err(OperationError::message(detail));
        }
        Ok(())
    }
}
