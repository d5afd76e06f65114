use skep::prelude::*;

struct Word(String);

/// Greet someone.
#[skep::operation(emits = Word)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
