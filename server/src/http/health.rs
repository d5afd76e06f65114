//! `/health`, `/livez`, `/readyz`.

use hyper::StatusCode;
use serde_json::{Map, json};
use skep::Problem;
use skep::plugin::Health;
use skep::problem::Code;

use crate::http::body;
use crate::http::{Answer, Http};

impl Http {
    /// `GET /health`: how the server and its plugins are, for people and dashboards. Always 200.
    pub(crate) async fn health(&self) -> Answer {
        let mut plugins = Map::new();
        for (name, health) in self.router.health().await {
            let health = match health {
                Health::Healthy => json!("healthy"),
                Health::Unhealthy(why) => json!({ "unhealthy": why }),
                _ => json!("unknown"),
            };
            plugins.insert(name.to_owned(), health);
        }
        let status = if self.router.is_shutting_down() {
            "shutting-down"
        } else if plugins.values().all(|health| health == "healthy") {
            "healthy"
        } else {
            "degraded"
        };
        let health = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "jobs": self.router.job_counts(),
            "plugins": plugins,
        });
        Ok(body::json(StatusCode::OK, &health))
    }

    /// `GET /readyz`: whether the server takes work now.
    pub(crate) async fn readyz(&self) -> Answer {
        if self.router.is_shutting_down() {
            return Err(skep::RouterError::ShuttingDown.into());
        }
        for (name, health) in self.router.health().await {
            if let Health::Unhealthy(why) = health {
                let detail = format!("plugin `{name}` can't work: {why}");
                return Err(Problem::new(Code::Unhealthy, detail).into());
            }
        }
        Ok(body::text("ok\n"))
    }
}
