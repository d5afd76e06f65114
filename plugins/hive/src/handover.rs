//! A job that another hive does.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep::placement::{HIVE_ID, LOCALHOST};
use skep::prelude::*;
use skep_relay::{Abandoned, Failure, Handover, Lost, Relay};

use crate::hives::Hives;
use crate::link::Link;

/// The operation that relays; hidden, since it's how jobs of others are done.
pub(crate) const RELAY: &str = "hive_relay";

/// The plugin, by whose name it keeps what has become of a job.
const PLUGIN: &str = "hive";

/// What is kept of a job that another hive does, to take it up again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) hive_id: String,
    handover: Handover,
}

impl Handed {
    /// What an earlier attempt has left, if a hive may still do the job for it.
    pub(crate) async fn of(job: &JobContext) -> Result<Option<Self>> {
        Ok(job.restored_of::<Option<Self>>(PLUGIN).await?.flatten())
    }

    /// Keeps that a hive does the job, or that none does.
    async fn keep(job: &JobContext, handed: Option<&Self>) -> Result<()> {
        job.checkpoint_of(PLUGIN, &handed).await
    }

    /// The job there, when nobody is going to relay it any more; with its input there.
    pub(crate) fn abandoned(&self, job: &JobContext, operation: &str, input: Value) -> Abandoned {
        self.handover.abandoned(job, operation, input)
    }
}

/// What a hive is to do for a job.
#[skep::data]
pub(crate) struct Errand {
    /// The hive.
    pub(crate) hive_id: String,
    /// The operation that it's to do.
    pub(crate) operation: String,
    /// With which input.
    pub(crate) input: Value,
    /// Whether another hive may do it if this one is lost.
    pub(crate) may_move: bool,
}

impl Errand {
    /// Has the hive do it, and makes its events the job's.
    pub(crate) async fn run(&self, hives: &Hives, job: &JobContext) -> Result<Value> {
        let Self { hive_id, operation, input, .. } = self;
        let link = hives.link(hive_id)?;
        let earlier = match job.attempt() {
            1 => None,
            _ => Handed::of(job).await?,
        };
        let is_taken_up = earlier.is_some();
        let server = link.way.server().filter(|_| is_taken_up || !link.is_gone());
        let Some(server) = server else { return Err(self.offline(&link)) };
        let handed = if let Some(handed) = earlier {
            handed
        } else {
            let handover = Handover::new(job).await?;
            let handed = Handed { hive_id: hive_id.clone(), handover };
            // Before anything is asked: else it might be asked for twice.
            Handed::keep(job, Some(&handed)).await?;
            handed
        };
        let (handover, abandon) = (&handed.handover, &|there| link.abandon(there));
        let server = &server;
        let relay = Relay { job, server, operation, input, handover, is_taken_up, abandon };
        match relay.run(link.gone()).await {
            Ok(ended) => {
                if job.is_cancelled() && !job.is_handed_over() {
                    // It's cancelled there, too: an attempt after this one begins anew.
                    let _ = Handed::keep(job, None).await;
                }
                ended.map(|result| renamed(result, hive_id))
            }
            Err(Lost { failure, told, .. }) => Err(self.lost(failure, told, job).await?),
        }
    }

    /// What follows when there's nothing to expect of the hive from the beginning.
    fn offline(&self, link: &Link) -> OperationError {
        let hive = self.hive_id.as_str();
        let why = link.known().failure.unwrap_or_else(|| "nothing is heard of it".to_owned());
        let detail = format!("hive `{hive}` is offline: {why}");
        let error =
            OperationError::new("hive-offline", detail).with_status(503).with(HIVE_ID, hive);
        if self.may_move { error } else { error.permanent() }
    }

    /// What follows when the hive is lost: the next attempt is done by another one, if that may be.
    async fn lost(&self, failure: Failure, told: u64, job: &JobContext) -> Result<OperationError> {
        if let Failure::Refused(problem) = failure {
            // It has too much to do, or goes down: later, or another one.
            Handed::keep(job, None).await?;
            return Ok(problem.into());
        }
        let hive = self.hive_id.as_str();
        let heard = match told {
            0 => "before it had told anything".to_owned(),
            1 => "after one event".to_owned(),
            told => format!("after {told} events"),
        };
        let detail = format!("hive `{hive}` was lost {heard}: {failure}");
        let error = OperationError::new("hive-lost", detail).with_status(502).with(HIVE_ID, hive);
        let spec = job.router().operation(&self.operation);
        let hints = spec.map(|spec| spec.hints).unwrap_or_default();
        // One that has told nothing may have been done, too: what destroys isn't done at two places.
        if !self.may_move || ((told > 0 || hints.destructive) && !hints.idempotent) {
            return Ok(error.permanent());
        }
        // The next one begins anew.
        Handed::keep(job, None).await?;
        Ok(error)
    }
}

/// A result of `hive` as it's to be read here: what is `localhost` there isn't here.
fn renamed(mut result: Value, hive: &str) -> Value {
    let rename = |value: &mut Value| {
        if let Some(id) = value.get_mut(HIVE_ID)
            && *id == LOCALHOST
        {
            *id = hive.into();
        }
    };
    match &mut result {
        Value::Array(items) => items.iter_mut().for_each(rename),
        value => rename(value),
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn localhost_there_is_the_hives_name_here() {
        let worker = |hive: &str| json!({ "id": "w-1", "hive_id": hive });
        assert_eq!(renamed(worker("localhost"), "gpu-1"), worker("gpu-1"));
        assert_eq!(renamed(json!([worker("localhost")]), "gpu-1"), json!([worker("gpu-1")]));
        for other in [json!(null), json!("localhost"), json!({ "hive_id": "attic" })] {
            assert_eq!(renamed(other.clone(), "gpu-1"), other);
        }
    }
}
