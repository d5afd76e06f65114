use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(name: &str) -> Result<String> {
    Ok(name.to_owned())
}

fn main() {}
