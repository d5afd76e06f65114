use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(name: String) -> String {
    name
}

/// Greet nobody.
#[skep::operation]
async fn silence() {}

fn main() {}
