use skep::prelude::*;

/// Greet someone by a model.
#[skep::operation(placed(anywhere))]
async fn hello() -> Result<()> {
    Ok(())
}

/// Greet someone somewhere.
#[skep::operation(placed(near = "here"))]
async fn hello_there() -> Result<()> {
    Ok(())
}

/// Greet someone here or there.
#[skep::operation(placed)]
async fn hello_twice(hive_id: String) -> Result<()> {
    let _ = hive_id;
    Ok(())
}

fn main() {}
