use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello<T: ToString>(name: T) -> Result<String> {
    Ok(name.to_string())
}

fn main() {}
