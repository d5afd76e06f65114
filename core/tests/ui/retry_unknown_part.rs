use skep::prelude::*;

/// Try as often as it takes.
#[skep::operation(idempotent, retry(attempts = 3, times = 3))]
async fn rest() -> Result<()> {
    Ok(())
}

fn main() {}
