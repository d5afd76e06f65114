use skep::prelude::*;

/// Greet someone.
#[skep::operation(retry(attempts = 3))]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
