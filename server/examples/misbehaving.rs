//! A server whose operations misbehave, to see that each hurts its own job only:
//!
//! ```text
//! cargo run -p skep-server --example misbehaving -- serve &
//! cargo run -p skep-server --example misbehaving -- run block_thread
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use skep::http::{self, Body, Request, Response};
use skep::job::Caller;
use skep::plugin::{RouterHandle, StoreContext, StoreRegistration};
use skep::prelude::*;
use skep::store::{MemoryStore, Store};
use skep::testing::{Fault, FaultyStore, StoreCall};
use skep::{JobRequest, Value, json};
use {skep_sqlite as _, skep_system as _};

fn main() -> ExitCode {
    skep_server::main()
}

/// A plugin that is as well as its configuration says.
struct Fragile {
    config: FragileConfig,
    router: RouterHandle,
}

#[skep::data]
#[derive(Default)]
#[serde(default)]
struct FragileConfig {
    /// Why it doesn't start, if it doesn't.
    broken: Option<String>,
    /// Why it can't work, if it can't.
    ill: Option<String>,
}

/// As well as its configuration says.
#[skep::plugin(name = "fragile", config = FragileConfig)]
impl Fragile {
    async fn start(context: PluginContext<FragileConfig>) -> Result<Self> {
        if let Some(why) = context.config.broken {
            return Err(OperationError::message(why));
        }
        Ok(Self { router: context.router().clone(), config: context.config })
    }

    async fn health(&self) -> Health {
        self.config.ill.clone().map_or(Health::Healthy, Health::Unhealthy)
    }

    /// Panic in a plugin's operation.
    #[operation]
    async fn fragile_break(&self) -> Result<()> {
        panic!("this message stays in the server's log");
    }

    /// Does as the path says.
    #[route(GET, "/v1/fragile/{does}")]
    async fn fragile_do(&self, request: Request) -> Result<Response> {
        match request.param("does") {
            "fail" => Err(OperationError::new("broken", "it broke").with_status(503)),
            "panic" => panic!("this message stays in the server's log"),
            "stream" => {
                let router = self.router.router().ok_or_else(|| OperationError::message("none"))?;
                let mut job = JobRequest::new("echo", json!({ "value": "x", "count": 3 }));
                job.caller = request.caller;
                let job = router.create_job(job).await?;
                let frames = router.execute_job(job.id, 0).await?.into_frames();
                Ok(http::with_type("text/event-stream", Body::frames(frames)))
            }
            does => Ok(http::json(&json!({ "does": does, "query": request.uri.query() }))),
        }
    }

    /// Says what it's told.
    #[route(POST, "/v1/fragile/{does}")]
    async fn fragile_tell(&self, request: Request) -> Result<Response> {
        let told: Value = request.json()?;
        let caller = match &request.caller {
            Caller::Client(Some(name)) => name.to_string(),
            _ => "nobody".to_owned(),
        };
        Ok(http::json(&json!({ "does": request.param("does"), "told": told, "by": caller })))
    }
}

inventory::submit! {
    StoreRegistration {
        name: "shelf",
        summary: "Keeps jobs on a shelf, which breaks where the configuration says so",
        package: skep::package!(),
        config_schema: skep::schema::input_schema::<ShelfConfig>,
        open: |context| Box::pin(async move {
            let full = shelf(&context)?.full;
            let store = Arc::new(MemoryStore::new(1 << 20));
            let fault = move |call| match call {
                StoreCall::Accept if full => Fault::Fails,
                _ => Fault::None,
            };
            let store: Arc<dyn Store> = Arc::new(FaultyStore::new(store, fault));
            Ok(store)
        }),
        check: |context| Box::pin(async move {
            shelf(&context)?;
            Ok(format!("{} holds", context.data_dir.display()))
        }),
        backup: |context, to| Box::pin(async move {
            shelf(&context)?;
            std::fs::create_dir(&to)?;
            Ok(format!("nothing in {}", to.display()))
        }),
    }
}

/// A store that breaks.
#[skep::data]
#[derive(Default)]
#[serde(default)]
struct ShelfConfig {
    /// What is broken, if anything is.
    damage: Option<String>,
    /// Whether it has no room for another job.
    full: bool,
}

/// Fails if the shelf is broken.
fn shelf(context: &StoreContext) -> Result<ShelfConfig> {
    let config: ShelfConfig = serde_json::from_value(context.config.clone())?;
    match config.damage {
        Some(damage) => Err(OperationError::message(damage)),
        None => Ok(config),
    }
}

/// Panic before the first event.
#[skep::operation]
async fn panic_early() -> Result<()> {
    panic!("this message stays in the server's log");
}

/// Panic after an event.
#[skep::operation]
async fn panic_late(job: &JobContext) -> Result<()> {
    job.emit("before").await?;
    panic!("this message stays in the server's log");
}

/// Block the thread, which no `await` gives back.
#[skep::operation]
async fn block_thread(
    /// For how long.
    #[default(60_000)]
    ms: u64,
) -> Result<()> {
    std::thread::sleep(Duration::from_millis(ms));
    Ok(())
}

/// Emit large events, which cost next to nothing to serialise.
#[skep::operation]
async fn emit_large(count: u64, size: usize, job: &JobContext) -> Result<u64> {
    let value = RawValue::from_string(format!("\"{}\"", "0123456789abcdef".repeat(size / 16)))?;
    for _ in 0..count {
        job.emit(&value).await?;
    }
    Ok(count)
}

/// Emit without end, and ignore what `emit` says.
#[skep::operation]
async fn flood(job: &JobContext) -> Result<()> {
    let line = "x".repeat(1024);
    loop {
        let _ = job.emit(&line).await;
    }
}

/// Go on though the job is cancelled.
#[skep::operation]
async fn ignore_cancellation() -> Result<()> {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Never end, within the time that the operation is given.
#[skep::operation(timeout = "300ms")]
async fn never_end() -> Result<()> {
    std::future::pending().await
}

/// Call itself.
#[skep::operation]
async fn call_itself(job: &JobContext) -> Result<()> {
    job.call("call_itself", serde_json::json!({})).await
}

/// Call the next of three that call each other.
#[skep::operation]
async fn call_b(job: &JobContext) -> Result<()> {
    job.call("call_c", serde_json::json!({})).await
}

/// Call the next of three that call each other.
#[skep::operation]
async fn call_c(job: &JobContext) -> Result<()> {
    job.call("call_d", serde_json::json!({})).await
}

/// Call the next of three that call each other.
#[skep::operation]
async fn call_d(job: &JobContext) -> Result<()> {
    job.call("call_b", serde_json::json!({})).await
}

/// Tell a secret to other operations only.
#[skep::operation(hidden)]
async fn secret_tell() -> Result<String> {
    Ok("the secret".to_owned())
}

/// Ask for the secret, and keep it.
#[skep::operation]
async fn secret_ask(job: &JobContext) -> Result<usize> {
    let secret: String = job.call("secret_tell", serde_json::json!({})).await?;
    Ok(secret.len())
}

/// Fail, and know when another try is worth it.
#[skep::operation]
async fn fail_for_now() -> Result<()> {
    Err(OperationError::new("busy", "the line is busy").with_status(503).with("retry_after", 1.2))
}

/// Run one at a time, with room for one more to wait.
#[skep::operation(max_concurrency = 1, max_queued = 1)]
async fn one_at_a_time(job: &JobContext) -> Result<()> {
    job.cancelled().await;
    Ok(())
}
