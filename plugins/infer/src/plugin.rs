//! The operation.

use serde_json::json;
use skep::job::Output;
use skep::prelude::*;

use crate::choice::choose;
use crate::input::InferInput;
use crate::output::{Answer, Inferred, Timings, Token};

/// How often another worker is looked for when one has ended before it was asked.
const TRIES: u32 = 3;

#[derive(Default)]
struct Inference;

/// Ask a model.
#[skep::plugin(name = "infer")]
impl Inference {
    /// Ask a model: continue a `prompt`, or answer `messages`.
    ///
    /// The text is emitted as it comes, and is whole in the result. If no worker has the model yet,
    /// one is started, and stays; how far it is comes as progress, in bytes, then how far the
    /// prompt is, in tokens.
    #[operation(emits = Token, placed(model = "model"))]
    async fn infer(&self, Input(input): Input<InferInput>, job: &JobContext) -> Result<Inferred> {
        let request = input.request()?;
        job.router().operation("worker_spawn").map_err(|error| {
            OperationError::from(error).or_missing_plugin("worker", "skep-worker")
        })?;
        let output = if input.stream { Output::Relayed } else { Output::Dropped };
        let mut tries = 0;
        let (worker, answer) = loop {
            let worker = choose(&input, job).await?;
            let call = json!({ "worker_id": worker.id, "request": request });
            match job.relay("worker_infer", call, output).await {
                Ok(answer) => break (worker, answer),
                // It has given its memory back between the choice and the request, or someone else's load
                // of it has failed.
                Err(error) if input.worker_id.is_none() && tries < TRIES && is_unloaded(&error) => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let Answer { text, finish_reason, usage, timings } = answer;
        Ok(Inferred {
            text,
            finish_reason,
            usage,
            timings: Timings {
                load_ms: worker.load_ms,
                prompt_ms: timings.prompt_ms,
                generation_ms: timings.generation_ms,
                tokens_per_second: timings.tokens_per_second,
            },
            model: input.model,
            worker_id: worker.id,
        })
    }
}

/// Whether a worker has ended before it was asked: nothing was told.
fn is_unloaded(error: &OperationError) -> bool {
    matches!(&*error.problem().code, "worker-unloaded" | "worker-not-loaded" | "unknown-worker")
}
