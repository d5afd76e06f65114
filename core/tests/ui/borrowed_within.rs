use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(names: Vec<&str>) -> Result<String> {
    Ok(names.concat())
}

fn main() {}
