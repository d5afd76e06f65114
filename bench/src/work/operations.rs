//! Whole jobs of a server with many operations, each of which is called by turns.

use bytes::Bytes;
use serde_json::json;

use crate::Result;
use crate::contender::{Contender, Place, TOKEN};
use crate::rounds::Sample;
use crate::work::jobs;

/// `count` jobs over so many connections. Before that, each operation has been called once.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    operations: usize,
    connections: usize,
    count: usize,
) -> Result<Sample> {
    let config = format!("[plugins.many]\noperations = {operations}\n");
    let running = contender.start_with(place, &config)?;
    let requests = (0..operations).map(request).collect();
    jobs::run(&running, connections, operations.max(count / 10), &requests).await?;
    jobs::run(&running, connections, count, &requests).await
}

/// A request of operation `number`, by the names that `bench/many` gives.
fn request(number: usize) -> Bytes {
    let request = json!({
        "operation": format!("family{}_verb{}", number / 10, number % 10),
        "value": TOKEN,
        "count": jobs::EVENTS,
        format!("option{number}"): 0.7,
    });
    request.to_string().into()
}
