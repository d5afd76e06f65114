use skep::prelude::*;

#[derive(Default)]
struct Hives;

#[skep::plugin(name = "hive")]
impl Hives {
    /// List the hives.
    #[operation]
    async fn hive_list(&mut self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
