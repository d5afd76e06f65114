use skep::prelude::*;

/// Delete everything, and change nothing.
#[skep::operation(read_only, destructive)]
async fn hello() -> Result<()> {
    Ok(())
}

fn main() {}
