use skep::prelude::*;

#[skep::data]
struct Person {
    name: String,
}

/// Greet someone.
#[skep::operation]
async fn hello(Input(person): Input<Person>, loud: bool) -> Result<String> {
    Ok(format!("{} {loud}", person.name))
}

fn main() {}
