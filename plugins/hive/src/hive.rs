//! A hive: as the catalog keeps it, and as clients are shown it.

use jiff::Timestamp;
use skep::placement::LOCALHOST;
use skep::prelude::*;
use skep_relay::Address;

use crate::heartbeat::Heartbeat;

/// The longest id, bytes: a label of a host's name (RFC 1035, 2.3.4).
const MAX_ID: usize = 63;

/// What the catalog has of a hive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    /// Its id.
    #[serde(skip)]
    pub(crate) id: String,
    /// Its machine, seen from here; by SSH, seen from there.
    pub(crate) host: String,
    /// The port that its server listens on; `None` until it's started on one that is free.
    pub(crate) port: Option<u16>,
    /// How SSH gets there: `[USER@]HOST`, or an alias of its configuration.
    pub(crate) ssh: Option<String>,
    pub(crate) created_at: Timestamp,
    /// The process that was started for it, until it's stopped.
    #[serde(default)]
    pub(crate) pid: Option<u32>,
}

/// A machine that can run workers.
#[skep::data]
#[derive(Clone, Debug)]
pub(crate) struct Hive {
    /// Its name; `localhost` is the server that is asked.
    pub(crate) id: String,
    /// Whether it tells that it's alive.
    pub(crate) state: State,
    /// Its machine; for one that is reached by SSH, seen from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// The port that its server listens on, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// How SSH gets there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh: Option<String>,
    /// When it was added to the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) created_at: Option<Timestamp>,
    /// When it last told how it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) heard_at: Option<Timestamp>,
    /// Why nothing is heard of it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// A hive, and all that it last told.
#[skep::data]
#[derive(Clone, Debug)]
pub(crate) struct HiveStatus {
    /// The hive.
    pub(crate) hive: Hive,
    /// What it last told; absent if nothing has been heard of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// Whether a hive tells that it's alive.
#[skep::data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It does.
    Online,
    /// It should have told by now.
    Late,
    /// It hasn't for so long, or never has, that nothing is expected of it.
    #[default]
    Offline,
}

impl State {
    /// Its name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Late => "late",
            Self::Offline => "offline",
        }
    }
}

impl Entry {
    /// Where its server is, if no tunnel leads there.
    pub(crate) fn address(&self) -> Option<Address> {
        Some(Address::Tcp(self.host.clone(), self.port?))
    }
}

/// A hive's id: the one that is given, or else the first label of the machine's name.
///
/// # Errors
/// `invalid-id`.
pub(crate) fn id_of(given: Option<String>, host: &str) -> Result<String> {
    let id = given.unwrap_or_else(|| {
        let machine = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let is_address = machine.parse::<std::net::IpAddr>().is_ok();
        let label = machine.split('.').next().unwrap_or_default().to_ascii_lowercase();
        if is_address { machine.replace(['.', ':'], "-") } else { label }
    });
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id == LOCALHOST {
        let detail = format!("`{LOCALHOST}` is the server itself: give the hive another `id`");
        return Err(OperationError::new("invalid-id", detail).with_status(422));
    }
    let is_valid = (1..=MAX_ID).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(allowed);
    if is_valid {
        return Ok(id);
    }
    let detail = format!(
        "a hive's id has 1 to {MAX_ID} lower-case letters, digits and `-`, and begins with none of \
         the last: give an `id`"
    );
    Err(OperationError::new("invalid-id", detail).with_status(422))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_or_the_machines_name() {
        for (host, id) in [
            ("gpu-1", "gpu-1"),
            ("GPU-2.example.org", "gpu-2"),
            ("ada@gpu-3.lan", "gpu-3"),
            ("192.168.1.7", "192-168-1-7"),
            ("fe80::1", "fe80--1"),
        ] {
            assert_eq!(id_of(None, host).unwrap(), id);
        }
        assert_eq!(id_of(Some("attic".to_owned()), "gpu-1").unwrap(), "attic");
        let long = "a".repeat(64);
        for id in ["", "-a", "A", "a b", "../x", "localhost", "é", &long] {
            let error = id_of(Some(id.to_owned()), "gpu-1").unwrap_err();
            assert_eq!(error.problem().code, "invalid-id", "{id}");
        }
    }
}
