//! `check`.

use serde_json::json;
use skep::prelude::*;

use crate::echo::Echoed;

/// How often `check` has `echo` repeat its value.
const ECHOES: u64 = 3;

/// What `check` found to work.
#[skep::data]
struct Checked {
    /// What was tried, in this order, and worked.
    checked: Vec<String>,
}

/// Check the way from an operation to its reader with one of everything.
///
/// The job emits output, reports progress, logs a line, computes on a thread of its own and calls
/// another operation. It fails if any of these does; whoever reads its events sees whether they
/// arrive.
#[skep::operation(read_only, idempotent, placed)]
async fn check(job: &JobContext) -> Result<Checked> {
    let steps = ["output", "progress", "log", "blocking", "call"];
    job.emit(&json!({ "text": "line 1\nline 2 \u{2028} é" })).await?;
    job.progress(2, steps.len() as u64, "steps").await?;
    job.log(LogLevel::Info, "this line is part of the check").await?;

    let sum = job.blocking(|| (1..=100_u32).sum::<u32>()).await;
    expect("blocking", &sum, &5050)?;

    let input = json!({ "value": "from check", "count": ECHOES });
    let echoed: Echoed = job.call("echo", input).await?;
    expect("call", &echoed, &Echoed { count: ECHOES })?;

    job.progress(steps.len() as u64, steps.len() as u64, "steps").await?;
    Ok(Checked { checked: steps.map(str::to_owned).into() })
}

fn expect<T: PartialEq + std::fmt::Debug>(step: &str, got: &T, expected: &T) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let detail = format!("`{step}` gave {got:?} in place of {expected:?}");
    Err(OperationError::new("check-failed", detail))
}
