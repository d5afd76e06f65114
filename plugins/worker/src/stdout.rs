//! What a worker says to its server: lines on its standard output.

use std::io::Write;

use serde::Serialize;

use crate::protocol::{Reply, Say};

/// Writes a line for request `id`.
pub(crate) fn say(id: u64, say: Say) {
    let Ok(mut line) = serde_json::to_vec(&Reply { id: Some(id), say }) else {
        unreachable!("texts, numbers and JSON values serialise")
    };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    // If nobody listens any more, the end of the standard input says so, too.
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

pub(crate) fn json(value: &impl Serialize) -> serde_json::Value {
    let Ok(value) = serde_json::to_value(value) else {
        unreachable!("texts and numbers serialise")
    };
    value
}
