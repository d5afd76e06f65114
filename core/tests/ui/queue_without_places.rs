use skep::prelude::*;

/// Greet someone.
#[skep::operation(max_queued = 10)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
