//! The operation in jsonrpsee: a subscription, over WebSocket.

use jsonrpsee::core::{SubscriptionResult, async_trait};
use jsonrpsee::types::{ErrorObject, error::INVALID_PARAMS_CODE};
use jsonrpsee::{PendingSubscriptionSink, proc_macros::rpc};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use validator::Validate;

/// What to roll.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DiceRoll {
    /// How many dice.
    #[validate(range(min = 1, max = 100))]
    dice: u32,
    /// How many sides each has.
    #[serde(default = "six")]
    #[validate(range(min = 2, max = 1000))]
    sides: u32,
    /// The same seed rolls the same.
    seed: Option<u64>,
}

fn six() -> u32 {
    6
}

/// An item of the subscription.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// How many dice are rolled so far.
    Rolled(u32),
    /// What all dice show; the last item.
    Sum(u32),
}

/// Everything that is served.
#[rpc(server)]
pub trait DiceApi {
    /// Roll dice and add them up.
    #[subscription(name = "dice_roll", unsubscribe = "dice_cancel", item = Update)]
    async fn dice_roll(&self, input: DiceRoll) -> SubscriptionResult;
}

/// What serves it.
pub struct Dice;

#[async_trait]
impl DiceApiServer for Dice {
    async fn dice_roll(
        &self,
        pending: PendingSubscriptionSink,
        input: DiceRoll,
    ) -> SubscriptionResult {
        if let Err(errors) = input.validate() {
            let refusal = ErrorObject::owned(INVALID_PARAMS_CODE, errors.to_string(), None::<()>);
            pending.reject(refusal).await;
            return Ok(());
        }
        let sink = pending.accept().await?;
        let DiceRoll { dice, sides, seed } = input;
        let mut rng = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut sum = 0;
        for third in 1..=3 {
            let rolled = dice * third / 3;
            sum += (dice * (third - 1) / 3..rolled).map(|_| rng.u32(1..=sides)).sum::<u32>();
            sink.send(to_raw_value(&Update::Rolled(rolled))?).await?;
        }
        sink.send(to_raw_value(&Update::Sum(sum))?).await?;
        Ok(())
    }
}
