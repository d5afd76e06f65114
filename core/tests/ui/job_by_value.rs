use skep::prelude::*;

/// Greet someone.
#[skep::operation]
async fn hello(job: JobContext) -> Result<()> {
    job.emit("Hello").await
}

fn main() {}
