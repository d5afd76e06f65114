//! Where jobs run: the interceptor that brings a placed job to its hive.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use skep::job::JobRequest;
use skep::placement::{HIVE_ID, LOCALHOST, Placement};
use skep::prelude::*;
use skep::{Execution, Interceptor, OperationSpec};
use skep_relay::check_hops;

use crate::choice::{Candidate, Choice, Wish, choose, least_loaded};
use crate::handover::{Errand, Handed, RELAY};
use crate::hive::State;
use crate::known::Known;
use crate::link::Link;
use crate::plugin::HivePlugin;

#[skep::async_trait]
impl Interceptor for HivePlugin {
    fn concerns(&self, operation: &OperationSpec) -> bool {
        operation.placement.is_some() || tells(&operation.name)
    }

    async fn accept(&self, request: &JobRequest, operation: &OperationSpec) -> Result<()> {
        check_hops(request)?;
        match named(operation, &request.input) {
            None | Some(LOCALHOST) => Ok(()),
            Some(id) => self.hives.link(id).map(drop),
        }
    }

    async fn before(&self, execution: &mut Execution) -> Result<()> {
        let Some(placement) = execution.operation().placement.clone() else { return Ok(()) };
        let (job, input) = (execution.job().clone(), execution.input().clone());
        let named = named(execution.operation(), &input).map(str::to_owned);
        // What another process has handed on isn't done a second time.
        if job.attempt() > 1
            && let Some(handed) = Handed::of(&job).await?
        {
            return reroute(execution, &handed.hive_id, named.is_some());
        }
        let is_named = named.is_some();
        let hive = match named {
            Some(hive) => hive,
            None => match self.choose(&placement, &input).await {
                Some(Choice { id, reason }) => {
                    job.log(LogLevel::Info, format!("placed on `{id}`: {reason}")).await?;
                    id
                }
                None => LOCALHOST.to_owned(),
            },
        };
        if hive == LOCALHOST { Ok(()) } else { reroute(execution, &hive, is_named) }
    }

    async fn cut_off(&self, job: &JobContext) {
        let Ok(Some(handed)) = Handed::of(job).await else { return };
        let (Ok(link), Ok(record)) =
            (self.hives.link(&handed.hive_id), job.router().job(job.id()).await)
        else {
            return;
        };
        if let Ok(input) = serde_json::from_str(record.input.get()) {
            link.abandon(handed.abandoned(job, &record.operation, there(input)));
        }
    }

    async fn after(&self, job: &skep::job::JobRecord) {
        if tells(&job.operation) {
            self.hives.pulse.change();
        }
    }
}

impl HivePlugin {
    /// Which hive does a job that names none; `None` if this machine is to, without a choice.
    async fn choose(&self, placement: &Placement, input: &Value) -> Option<Choice> {
        let field = placement.model_field()?;
        let links = self.hives.links();
        if links.is_empty() {
            return None;
        }
        // After a restart, what the hives tell takes a moment.
        join_all(links.iter().map(|link| link.settled())).await;
        let wish = Wish { model: input[field].as_str(), worker: input["worker_id"].as_str() };
        if let Some(choice) = choose(&self.candidates(&links).await, wish) {
            return Some(choice);
        }
        // What is wanted may have come to a hive a moment ago.
        join_all(links.iter().filter(|link| link.is_expected()).map(|link| link.ask())).await;
        let candidates = self.candidates(&links).await;
        let anywhere = matches!(placement, Placement::WithModelOrAnywhere(_));
        choose(&candidates, wish).or_else(|| least_loaded(&candidates).filter(|_| anywhere))
    }

    /// The hives that jobs may go to.
    async fn candidates(&self, links: &[Arc<Link>]) -> Vec<Candidate> {
        let others = links.iter().filter(|link| link.is_expected()).filter_map(|link| {
            let Known { state, heartbeat, .. } = link.known();
            Some(Candidate {
                id: link.entry.id.clone(),
                is_here: false,
                state,
                heartbeat: heartbeat?,
            })
        });
        let here = Candidate {
            id: LOCALHOST.to_owned(),
            is_here: true,
            state: State::Online,
            heartbeat: Arc::new(self.hives.here().await),
        };
        [here].into_iter().chain(others).collect()
    }
}

/// Whether a job of the operation may change what this machine tells of its models and its workers.
fn tells(operation: &str) -> bool {
    operation.starts_with("model_") || operation.starts_with("worker_")
}

/// The hive that a job names, if its operation is placed.
fn named<'a>(operation: &OperationSpec, input: &'a Value) -> Option<&'a str> {
    operation.placement.as_ref()?;
    input[HIVE_ID].as_str()
}

/// Has the job done by `hive`.
fn reroute(execution: &mut Execution, hive: &str, is_named: bool) -> Result<()> {
    let input = there(execution.input().clone());
    let operation = execution.operation().name.clone();
    let errand = Errand { hive_id: hive.to_owned(), operation, input, may_move: !is_named };
    Ok(execution.reroute(RELAY, serde_json::to_value(errand)?)?)
}

/// A job's input for the hive that is to do it: there it's to stay.
fn there(mut input: Value) -> Value {
    input[HIVE_ID] = LOCALHOST.into();
    input
}
