//! What is kept of jobs that have ended, and for how long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::error;

use crate::clock;
use crate::config::JobsConfig;
use crate::router::Inner;
use crate::store::{Retention, Sweep};

/// How often the store is asked to forget what needn't be kept.
const PERIOD: Duration = Duration::from_secs(2);

/// Has the store forget, step by step, until the router is gone.
pub(super) async fn sweep_forever(router: Weak<Inner>) {
    while let Some(inner) = router.upgrade() {
        sweep(&inner).await;
        drop(inner);
        sleep(PERIOD).await;
    }
}

async fn sweep(inner: &Arc<Inner>) {
    let keep = retention(&inner.config);
    loop {
        match inner.store.sweep(&keep).await {
            Ok(Sweep::More) => tokio::task::yield_now().await,
            Ok(Sweep::Done) => return,
            Err(error) => return error!("ended jobs can't be forgotten: {error}"),
        }
    }
}

fn retention(config: &JobsConfig) -> Retention {
    // A retention that goes back beyond the calendar keeps everything.
    let ended_since = clock::system().checked_sub(config.retention).unwrap_or(Timestamp::MIN);
    Retention { ended_since, max_jobs: config.max_kept, max_bytes: config.max_stored.as_u64() }
}
