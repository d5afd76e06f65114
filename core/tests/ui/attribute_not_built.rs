use skep::prelude::*;

/// Greet someone.
#[skep::operation(placed)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
