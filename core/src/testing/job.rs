//! A job of a test server.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::job::{Event, EventKind, JobId, JobRecord, JobState};
use crate::problem::Problem;
use crate::router::Router;
use crate::testing::TestServer;

/// A job of a [`TestServer`].
///
/// It stays the same job over the server's restarts.
pub struct TestJob<'a> {
    server: &'a TestServer,
    id: JobId,
}

impl<'a> TestJob<'a> {
    pub(super) fn new(server: &'a TestServer, id: JobId) -> Self {
        Self { server, id }
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The job as it stands.
    pub fn record(&self) -> JobRecord {
        let record = self.ask(async |router, id| router.job(id).await);
        record.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for its end, and returns how it ended.
    pub fn end(&self) -> JobState {
        let record = self.ask(async |router, id| router.wait(id, Duration::MAX).await);
        record.unwrap_or_else(|error| panic!("{error}")).state
    }

    /// Its result, when it has ended.
    ///
    /// # Panics
    /// If it didn't succeed.
    pub fn result(&self) -> Value {
        match self.end() {
            JobState::Succeeded(result) => serde_json::from_str(result.get())
                .unwrap_or_else(|error| panic!("the result is not JSON: {error}")),
            JobState::Failed(problem) => panic!("the job failed ({}): {problem}", problem.code),
            state => panic!("the job is {}", state.as_str()),
        }
    }

    /// The problem that it failed with, when it has ended.
    ///
    /// # Panics
    /// If it didn't fail.
    pub fn problem(&self) -> Problem {
        match self.end() {
            JobState::Failed(problem) => problem,
            JobState::Succeeded(result) => panic!("the job succeeded: {result}"),
            state => panic!("the job is {}", state.as_str()),
        }
    }

    /// All events of its log, when it has ended.
    pub fn events(&self) -> Vec<Event> {
        let events = self.ask(async |router, id| {
            let events = router.execute_job(id, 0).await.map_err(|error| error.to_string())?;
            events.try_collect().await.map_err(|error| error.to_string())
        });
        events.unwrap_or_else(|error: String| panic!("the log can't be read: {error}"))
    }

    /// Its events up to event `last`, as soon as that one is there.
    ///
    /// # Panics
    /// If the log ends before that.
    pub fn events_until(&self, last: u64) -> Vec<Event> {
        let events = self.ask(async |router, id| {
            let mut stream = router.execute_job(id, 0).await.map_err(|error| error.to_string())?;
            let mut events: Vec<Event> = Vec::new();
            while events.last().is_none_or(|event| event.id < last) {
                match stream.next().await {
                    Some(event) => events.push(event.map_err(|error| error.to_string())?),
                    None => return Err(format!("it ends before event {last}: {events:?}")),
                }
            }
            Ok(events)
        });
        events.unwrap_or_else(|error| panic!("the log can't be read: {error}"))
    }

    /// What it emitted, when it has ended.
    pub fn outputs(&self) -> Vec<Value> {
        let output = |event: Event| match event.kind {
            EventKind::Output(value) => Some(value),
            _ => None,
        };
        self.events().into_iter().filter_map(output).collect()
    }

    /// Cancels it, and waits for its end.
    ///
    /// # Panics
    /// If it has ended already, or ends otherwise.
    pub fn cancel(&self) {
        let cancelled = self.ask(async |router, id| router.cancel_job(id).await);
        cancelled.unwrap_or_else(|error| panic!("it can't be cancelled: {error}"));
        match self.end() {
            JobState::Cancelled => {}
            state => panic!("the job is {}, though it was cancelled", state.as_str()),
        }
    }

    /// Lets a job go on that [stands](TestServer::create_until) at an event.
    pub fn release(&self) {
        self.server.router().release(self.id);
    }

    /// Waits for what the router of today says of the job.
    fn ask<T>(&self, ask: impl AsyncFnOnce(Router, JobId) -> T) -> T {
        self.server.block_on(ask(self.server.router(), self.id))
    }
}
