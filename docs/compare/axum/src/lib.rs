//! The operation in axum: a POST that is answered with Server-Sent Events.

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::{Json, Router, routing::post};
use serde::{Deserialize, Serialize};
use tokio_stream::Stream;
use validator::Validate;

/// What to roll.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct DiceRoll {
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

/// An event's data.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Update {
    /// How many dice are rolled so far.
    Rolled(u32),
    /// What all dice show; the last event.
    Sum(u32),
}

/// Everything that is served.
pub fn app() -> Router {
    Router::new().route("/dice_roll", post(dice_roll))
}

/// Roll dice and add them up.
async fn dice_roll(
    Json(input): Json<DiceRoll>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, (StatusCode, String)> {
    input.validate().map_err(|errors| (StatusCode::UNPROCESSABLE_ENTITY, errors.to_string()))?;
    let DiceRoll { dice, sides, seed } = input;
    Ok(Sse::new(async_stream::try_stream! {
        let mut rng = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut sum = 0;
        for third in 1..=3 {
            let rolled = dice * third / 3;
            sum += (dice * (third - 1) / 3..rolled).map(|_| rng.u32(1..=sides)).sum::<u32>();
            yield Event::default().json_data(Update::Rolled(rolled))?;
        }
        yield Event::default().json_data(Update::Sum(sum))?;
    }))
}
