use skep::prelude::*;

/// Run something.
#[skep::operation]
async fn run(operation: String) -> Result<String> {
    Ok(operation)
}

fn main() {}
