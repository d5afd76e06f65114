//! The operation in Skep.

use skep::prelude::*;

/// How many dice are rolled so far.
#[skep::data]
pub struct Rolled {
    rolled: u32,
}

/// What all dice show.
#[skep::data]
pub struct Sum {
    sum: u32,
}

/// Roll dice and add them up.
#[skep::operation(idempotent, emits = Rolled)]
async fn dice_roll(
    /// How many dice.
    #[schemars(range(min = 1, max = 100))]
    dice: u32,
    /// How many sides each has.
    #[default(6)]
    #[schemars(range(min = 2, max = 1000))]
    sides: u32,
    /// The same seed rolls the same.
    seed: Option<u64>,
    job: &JobContext,
) -> Result<Sum> {
    let mut rng = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let mut sum = 0;
    for third in 1..=3 {
        let rolled = dice * third / 3;
        sum += (dice * (third - 1) / 3..rolled).map(|_| rng.u32(1..=sides)).sum::<u32>();
        job.emit(&Rolled { rolled }).await?;
    }
    Ok(Sum { sum })
}
