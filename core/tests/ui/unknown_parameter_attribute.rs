use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(#[range(1..3)] count: u32) -> Result<u32> {
    Ok(count)
}

fn main() {}
