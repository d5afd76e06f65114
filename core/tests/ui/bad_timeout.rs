use skep::prelude::*;

/// Greet someone.
#[skep::operation(timeout = "soon")]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
