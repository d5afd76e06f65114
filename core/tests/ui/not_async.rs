use skep::prelude::*;

/// Greet someone.
#[skep::operation]
fn hello(name: String) -> Result<String> {
    Ok(name)
}

fn main() {}
