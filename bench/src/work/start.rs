//! How long a server takes from nothing to its first answer, and how large its program is.

use std::fs;
use std::time::Instant;

use crate::Result;
use crate::contender::{Contender, Place};
use crate::rounds::Sample;

/// Starts a server with a directory that is empty, and asks it for its health.
pub(crate) async fn sample(contender: Contender, place: &Place) -> Result<Sample> {
    let size = fs::metadata(contender.program(place))?.len();
    let begun = Instant::now();
    let running = contender.start(place)?;
    let mut connection = running.connect().await?;
    connection.get("/health").await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(vec![("ms to 200", took), ("MB", size as f64 / 1e6)])
}
