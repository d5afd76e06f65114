use skep::prelude::*;

#[skep::operation]
async fn hello(name: String) -> Result<String> {
    Ok(name)
}

fn main() {}
