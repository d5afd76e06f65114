//! The smallest plugin: one operation, in a crate that depends on `skep` alone.
//!
//! A server that names this crate (`use skep_hello as _;`) serves it.

use skep::prelude::*;

/// Greet someone, a word at a time.
#[skep::operation]
pub async fn hello(
    /// Who to greet.
    name: String,
    job: &JobContext,
) -> Result<String> {
    for word in ["Hello,", &name] {
        job.emit(word).await?;
    }
    Ok(format!("Hello, {name}!"))
}
