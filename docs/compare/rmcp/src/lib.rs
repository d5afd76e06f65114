//! The operation in rmcp: a tool that tells its progress, over MCP's streamable HTTP.

use axum::Router;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::ProgressNotificationParam;
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::{
    StreamableHttpService, session::local::LocalSessionManager,
};
use rmcp::{tool, tool_router};
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

/// What all dice show.
#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: u32,
}

/// The tools that are served.
struct Dice;

#[tool_router(server_handler)]
impl Dice {
    /// Roll dice and add them up.
    #[tool]
    async fn dice_roll(
        &self,
        Parameters(input): Parameters<DiceRoll>,
        request: RequestContext<RoleServer>,
    ) -> Result<Json<Sum>, String> {
        input.validate().map_err(|errors| errors.to_string())?;
        let DiceRoll { dice, sides, seed } = input;
        let mut rng = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut sum = 0;
        for third in 1..=3 {
            if request.ct.is_cancelled() {
                return Err("cancelled".to_owned());
            }
            let rolled = dice * third / 3;
            sum += (dice * (third - 1) / 3..rolled).map(|_| rng.u32(1..=sides)).sum::<u32>();
            if let Some(token) = request.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, rolled.into());
                let _ = request.peer.notify_progress(progress.with_total(dice.into())).await;
            }
        }
        Ok(Json(Sum { sum }))
    }
}

/// Everything that is served.
pub fn app() -> Router {
    let sessions = LocalSessionManager::default().into();
    let service = StreamableHttpService::new(|| Ok(Dice), sessions, Default::default());
    Router::new().route_service("/mcp", service)
}
