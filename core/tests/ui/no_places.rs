use skep::prelude::*;

/// Greet someone.
#[skep::operation(max_concurrency = 0)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
