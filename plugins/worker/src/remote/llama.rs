//! llama.cpp's server as a child process.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use skep::prelude::*;
use skep::problem::Problem;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::protocol::Load;
use crate::remote::api::Api;

/// How often it's asked whether it's ready.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// A llama.cpp server that runs; it's killed when this is dropped.
pub(crate) struct Llama {
    child: Child,
    pub(crate) url: String,
}

impl Llama {
    /// Starts one that holds the model, and waits until it does, as long as it takes. What it says goes to our own standard
    /// error, which our server keeps.
    pub(crate) async fn start(
        program: &OsStr,
        arguments: &[OsString],
        load: &Load,
    ) -> Result<Self, Problem> {
        let failed = |detail: String| {
            OperationError::new("llama-server-failed", detail).with_status(502).into_problem()
        };
        // It takes a port only by number. Between here and there another process may take it: then it
        // ends at once, and says so.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.map_err(|error| failed(format!("there's no free port: {error}")))?.port();
        // Each slot has as much context as a worker is to have.
        let Load { path, context, slots } = load;
        let context = context.saturating_mul(*slots);
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--model", path])
            .args(["--ctx-size", &context.to_string(), "--parallel", &slots.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let child = command.spawn();
        let child = child.map_err(|error| failed(format!("it can't be started: {error}")))?;
        let mut llama = Self { child, url: format!("http://127.0.0.1:{port}") };
        let api = Api::of_llama(&llama.url)?;
        loop {
            tokio::select! {
                exit = llama.ended() => {
                    return Err(failed(format!("it ended while it loaded the model: {exit}")));
                }
                ready = api.is_ready() => if ready {
                    return Ok(llama);
                }
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    /// Waits for its end, and says how it ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its end can't be learned: {error}"),
        }
    }
}
