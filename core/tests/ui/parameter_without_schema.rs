use skep::prelude::*;

#[derive(serde::Deserialize)]
struct Person {
    name: String,
}

/// Greet someone.
#[skep::operation]
async fn hello(person: Person) -> Result<String> {
    Ok(person.name)
}

fn main() {}
