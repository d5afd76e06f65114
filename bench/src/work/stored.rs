//! What whole jobs and a page of the list of jobs cost, while ever more jobs that have ended are kept.

use crate::Result;
use crate::contender::{Contender, Place};
use crate::rounds::Sample;
use crate::work::jobs;

const CONNECTIONS: usize = 64;

/// How many pages are asked for, one after the other.
const PAGES: usize = 200;

/// How many jobs are measured at a mark, at least and at most; in between it's a tenth of those that are
/// stored, so that what is measured hardly changes how many those are.
const JOBS: (usize, usize) = (800, 20_000);

/// One server that is filled from mark to mark; a sample at each. Each mark is ten times the one before it,
/// and the first one is a page at least.
pub(crate) async fn samples(
    contender: Contender,
    place: &Place,
    marks: &[u64],
) -> Result<Vec<Sample>> {
    let running = contender.start(place)?;
    let requests = jobs::requests(contender);
    let mut connection = running.connect().await?;
    let first = connection.create(&requests[0]).await?;
    let mut stored = 1;
    let mut samples = Vec::new();
    for &mark in marks {
        let mark = usize::try_from(mark)?;
        jobs::run(&running, CONNECTIONS, mark - stored, &requests).await?;
        stored = mark;

        // The list first: it adds nothing to itself. A connection that was idle while jobs were made is closed.
        let mut pages = running.connect().await?;
        let meter = running.server.meter()?;
        for _ in 0..PAGES {
            pages.get("/v1/jobs").await?;
        }
        let (rate, cpu) = meter.read(PAGES as f64)?;
        // None has been forgotten, which would begin with the oldest.
        pages.stream(&first).await?.rest().await?;
        let mut sample = vec![("pages/s", rate), ("CPU us/page", cpu)];

        let count = (stored / 10).clamp(JOBS.0, JOBS.1);
        sample.extend(jobs::run(&running, CONNECTIONS, count, &requests).await?);
        stored += count;
        samples.push(sample);
    }
    Ok(samples)
}
