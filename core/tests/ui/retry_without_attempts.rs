use skep::prelude::*;

/// Say how often, too.
#[skep::operation(idempotent, retry(backoff = "1s"))]
async fn rest() -> Result<()> {
    Ok(())
}

fn main() {}
