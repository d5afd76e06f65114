//! The operation in dropshot: a POST that is answered with a body of JSON lines.

use std::convert::Infallible;

use dropshot::{
    ApiDescription, Body, CONTENT_TYPE_NDJSON, HttpError, RequestContext, TypedBody, endpoint,
};
use http::{Response, header::CONTENT_TYPE};
use http_body_util::channel::Channel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// What to roll.
#[derive(Deserialize, JsonSchema, Validate)]
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

/// A line of the body.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Update {
    /// How many dice are rolled so far.
    Rolled(u32),
    /// What all dice show; the last line.
    Sum(u32),
}

impl Update {
    fn line<L: From<String>>(&self) -> Result<L, serde_json::Error> {
        Ok(L::from(serde_json::to_string(self)? + "\n"))
    }
}

/// Everything that is served.
pub fn api() -> ApiDescription<()> {
    let mut api = ApiDescription::new();
    api.register(dice_roll).expect("the endpoint is described well");
    api
}

/// Roll dice and add them up.
#[endpoint { method = POST, path = "/dice_roll" }]
async fn dice_roll(
    _: RequestContext<()>,
    input: TypedBody<DiceRoll>,
) -> Result<Response<Body>, HttpError> {
    let input = input.into_inner();
    input.validate().map_err(|errors| HttpError::for_bad_request(None, errors.to_string()))?;
    let DiceRoll { dice, sides, seed } = input;
    let (mut lines, body) = Channel::<_, Infallible>::new(1);
    tokio::spawn(async move {
        let mut rng = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut sum = 0;
        for third in 1..=3 {
            let rolled = dice * third / 3;
            sum += (dice * (third - 1) / 3..rolled).map(|_| rng.u32(1..=sides)).sum::<u32>();
            lines.send_data(Update::Rolled(rolled).line()?).await?;
        }
        lines.send_data(Update::Sum(sum).line()?).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    Ok(Response::builder().header(CONTENT_TYPE, CONTENT_TYPE_NDJSON).body(Body::wrap(body))?)
}
