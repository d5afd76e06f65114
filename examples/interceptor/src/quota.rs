//! So many jobs for each caller in a window of time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep::job::{Caller, JobRequest};
use skep::prelude::*;
use skep::schema::DurationText;
use skep::{Interceptor, OperationSpec};

/// How many callers are known at most: who asks under ever new names must not fill the memory.
const MAX_CALLERS: usize = 10_000;

#[skep::data]
#[serde(default)]
struct Config {
    /// How many jobs a caller may ask for in a window.
    jobs: u32,
    /// How long a window is.
    per: DurationText,
}

impl Default for Config {
    fn default() -> Self {
        Self { jobs: 100, per: DurationText(Duration::from_hours(1)) }
    }
}

/// The windows of the callers, by their names; those without one share theirs.
struct Quota {
    config: Config,
    windows: Mutex<HashMap<Option<Arc<str>>, Window>>,
}

struct Window {
    begun: Instant,
    jobs: u32,
}

/// A limit of jobs for each caller.
#[skep::plugin(name = "quota", config = Config, interceptor)]
impl Quota {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        Ok(Self { config: cx.config, windows: Mutex::default() })
    }
}

#[skep::async_trait]
impl Interceptor for Quota {
    async fn accept(&self, request: &JobRequest, _: &OperationSpec) -> Result<()> {
        // What a job calls, and what the server does by itself, is on nobody's account.
        let Caller::Client(name) = &request.caller else { return Ok(()) };
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_CALLERS && !windows.contains_key(name) {
            windows.retain(|_, window| now - window.begun < *self.config.per);
        }
        let window = windows.entry(name.clone()).or_insert(Window { begun: now, jobs: 0 });
        if now - window.begun >= *self.config.per {
            *window = Window { begun: now, jobs: 0 };
        }
        if window.jobs < self.config.jobs {
            window.jobs += 1;
            return Ok(());
        }
        let name = name.as_deref().unwrap_or("whoever gives no name");
        let left = self.config.per.saturating_sub(now - window.begun);
        let detail =
            format!("{name} has asked for {} jobs within {:?}", window.jobs, *self.config.per);
        Err(OperationError::new("over-quota", detail).with_status(429).with_retry_after(left))
    }
}
