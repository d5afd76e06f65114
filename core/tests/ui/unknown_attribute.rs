use skep::prelude::*;

/// Greet someone.
#[skep::operation(readonly)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
