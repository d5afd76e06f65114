use skep::prelude::*;

struct Person {
    name: String,
}

/// Greet someone.
#[skep::operation]
async fn hello(Input(person): Input<Person>) -> Result<String> {
    Ok(person.name)
}

fn main() {}
