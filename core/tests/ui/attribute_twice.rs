use skep::prelude::*;

/// Greet someone.
#[skep::operation(timeout = "1s", timeout = "2s")]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
