use skep::prelude::*;

/// Add.
#[skep::operation]
async fn add((a, b): (u32, u32)) -> Result<u32> {
    Ok(a + b)
}

fn main() {}
