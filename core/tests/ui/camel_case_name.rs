use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn sayHello() -> Result<()> {
    Ok(())
}

fn main() {}
