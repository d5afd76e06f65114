use skep::prelude::*;

#[derive(Default)]
struct Hives;

#[skep::plugin(name = "hive")]
impl Hives {
    /// List the hives.
    #[operation]
    async fn hive_list(&self) -> Result<()> {
        Ok(())
    }

    /// List the hives again.
    #[operation]
    async fn hive_list(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
