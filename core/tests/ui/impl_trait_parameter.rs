use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(name: impl ToString) -> Result<String> {
    Ok(name.to_string())
}

fn main() {}
