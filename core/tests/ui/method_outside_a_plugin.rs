use skep::prelude::*;

struct Hives;

impl Hives {
    /// List the hives.
    #[skep::operation]
    async fn hive_list(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
