use skep::prelude::*;

/// Greet someone.
#[skep::operation(deprecated = "use greet")]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
