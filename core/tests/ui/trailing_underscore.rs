use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello_() -> Result<()> {
    Ok(())
}

fn main() {}
