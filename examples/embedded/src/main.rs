//! The router as a library: a program that runs jobs and has no server.
//!
//! ```console
//! $ cargo run -p skep-embedded -- skep honey comb
//! 4 skep
//! 5 honey
//! 4 comb
//! 13 letters in all
//! ```

use std::sync::Arc;
use std::time::Duration;

use skep::job::EventKind;
use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, JobRequest, Router, StreamExt, json};

/// Count the letters of words.
#[skep::operation(read_only, idempotent)]
async fn letters_count(
    /// The words.
    #[schemars(length(min = 1))]
    words: Vec<String>,
    job: &JobContext,
) -> Result<usize> {
    let mut all = 0;
    for word in &words {
        let letters = word.chars().count();
        job.emit(&format!("{letters} {word}")).await?;
        all += letters;
    }
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    // A store that outlives the program is `skep-sqlite`'s.
    let config = Config::default();
    let store = MemoryStore::new(config.jobs.memory.as_u64());
    let router = Router::start(config, Linked::all(), Arc::new(store)).await?;

    let job =
        router.create_job(JobRequest::new("letters_count", json!({ "words": words }))).await?;
    let mut events = router.execute_job(job.id, 0).await?;
    while let Some(event) = events.next().await {
        if let EventKind::Output(line) = event?.kind {
            println!("{}", line.as_str().unwrap_or_default());
        }
    }
    let job = router.wait(job.id, Duration::MAX).await?;
    println!("{} letters in all", job.state.result()?);
    router.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
