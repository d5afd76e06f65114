//! How long it takes from a request to the job's first event, on a server that has little to do.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Result;
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// The pause between two jobs: the load is light.
const PAUSE: Duration = Duration::from_millis(1);

/// One job after the other on one connection.
pub(crate) async fn sample(contender: Contender, place: &Place, jobs: usize) -> Result<Sample> {
    let running = contender.start(place)?;
    let mut connection = running.connect().await?;
    let job = contender.job(&Job::of(1));
    for _ in 0..jobs / 10 {
        connection.run(&job).await?;
    }
    let mut times = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        sleep(PAUSE).await;
        let begun = Instant::now();
        let at = connection.create(&job).await?;
        let mut events = connection.stream(&at).await?;
        events.reach(1).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        events.rest().await?;
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(jobs * part / 100).min(jobs - 1)];
    Ok(vec![("p50 us", at(50)), ("p99 us", at(99))])
}
