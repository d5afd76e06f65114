use skep::prelude::*;

struct Greeting(String);

/// Greet someone.
#[skep::operation]
async fn hello(name: String) -> Result<Greeting> {
    Ok(Greeting(name))
}

fn main() {}
