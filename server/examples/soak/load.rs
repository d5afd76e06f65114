//! The clients: they ask for jobs at a steady rate, whatever becomes of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use skep::JobId;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::client::{Client, Posted, Wish, describe, is_refusal, job_of};
use crate::ledger::{Cancel, Ledger, count};
use crate::listing::Walk;
use crate::order::{Kind, Order};
use crate::reader::{Manner, Reader};

/// How often jobs are asked for, and how many of them at once, at most.
const TICK: Duration = Duration::from_millis(20);
const PER_TICK: u32 = 8;

/// How many clients there are at once, so that they don't pile up while there's no server.
const CLIENTS: usize = 2_000;

/// How many pages a client turns, at most.
const MAX_PAGES: u32 = 20;

/// The pause before a client asks again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a job may take to end of which it was said that it has: its end may wait for a store that
/// fails.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// How long a client asks again for a job that it has a key for.
const KEY_PATIENCE: Duration = Duration::from_mins(2);

/// What the clients share.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) client: Client,
    pub(crate) ledger: Arc<Ledger>,
}

impl Load {
    /// Asks for jobs until `stop` is true, and waits until all clients have what they want.
    /// Fails if one of them panics.
    pub(crate) async fn run(
        self,
        mut rng: Rng,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), JoinError> {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        let mut tasks = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !*stop.borrow() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => break,
            }
            for _ in 0..rng.u32(0..=PER_TICK) {
                let Ok(permit) = clients.clone().try_acquire_owned() else { break };
                let (load, mut rng) = (self.clone(), rng.fork());
                tasks.spawn(async move {
                    load.one(&mut rng).await;
                    drop(permit);
                });
            }
            while let Some(done) = tasks.try_join_next() {
                done?;
            }
        }
        while let Some(done) = tasks.join_next().await {
            done?;
        }
        Ok(())
    }

    /// One client: asks for a job, and does with it what some client would.
    async fn one(&self, rng: &mut Rng) {
        let order = Order::draw(rng);
        let mut wish = Wish {
            priority: rng.choice([None, None, Some("low"), Some("normal"), Some("high")]).flatten(),
            ..Wish::default()
        };
        let id = match rng.u8(0..100) {
            99 => return self.page(rng).await,
            0..5 => return self.attached(&order, rng).await,
            5..13 => {
                // Unlike any other, by the counter; drawn too, so that runs in one place differ.
                static NEXT: AtomicU64 = AtomicU64::new(0);
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                wish.key = Some(format!("{number}-{:x}", rng.u32(..)));
                self.keyed(&order, &wish, rng.usize(1..=4)).await
            }
            13..23 => {
                wish.run_at = Some(format!("+{}ms", rng.u32(100..4000)));
                self.plain(&order, &wish).await
            }
            23..31 => {
                wish.on_stream = true;
                self.plain(&order, &wish).await
            }
            _ => self.plain(&order, &wish).await,
        };
        let Some(id) = id else { return };
        let cancels = rng.u8(0..100) < if order.kind == Kind::Wait { 60 } else { 4 };
        // A job that waits for its first reader gets one.
        let first = wish.on_stream.then_some(Manner::Live);
        let others = (0..rng.u8(0..3)).map(|_| Manner::draw(rng));
        let manners: Vec<_> = first.into_iter().chain(others).collect();
        let readers = manners.into_iter().map(|manner| self.reader(id, manner, rng).read());
        let readers: Vec<_> = readers.collect();
        let pause = Duration::from_millis(rng.u64(0..1500));
        let cancel = async {
            if cancels {
                sleep(pause).await;
                self.cancel(id).await;
            }
        };
        tokio::join!(join_all(readers), cancel);
    }

    fn reader(&self, id: JobId, manner: Manner, rng: &mut Rng) -> Reader {
        let (client, ledger) = (self.client.clone(), self.ledger.clone());
        Reader { client, ledger, id, manner, rng: rng.fork() }
    }

    /// Asks once.
    async fn plain(&self, order: &Order, wish: &Wish) -> Option<JobId> {
        match self.client.post(order, wish).await {
            Posted::Accepted(id) => {
                self.ledger.accept(id, order, false);
                return Some(id);
            }
            Posted::Refused => count(&self.ledger.counters.refused),
            Posted::Lost => count(&self.ledger.counters.unanswered),
            Posted::Wrong(answer) => {
                self.ledger.violate_as_a_whole("wrong answers", format!("to {order:?}: {answer}"));
            }
        }
        None
    }

    /// Asks by a key, `times` at once, each until it's answered.
    pub(crate) async fn keyed(&self, order: &Order, wish: &Wish, times: usize) -> Option<JobId> {
        let asked = (0..times).map(|_| self.until_answered(order, wish));
        join_all(asked).await.into_iter().flatten().next()
    }

    async fn until_answered(&self, order: &Order, wish: &Wish) -> Option<JobId> {
        let until = Instant::now() + KEY_PATIENCE;
        while Instant::now() < until {
            match self.client.post(order, wish).await {
                Posted::Accepted(id) => {
                    self.ledger.accept(id, order, false);
                    self.ledger.keyed(wish.key.as_deref().unwrap_or_default(), order, id);
                    return Some(id);
                }
                Posted::Refused | Posted::Lost => sleep(PAUSE).await,
                Posted::Wrong(answer) => {
                    let what = format!("to {order:?} by {:?}: {answer}", wish.key);
                    self.ledger.violate_as_a_whole("wrong answers", what);
                    return None;
                }
            }
        }
        None
    }

    /// Asks again for jobs of earlier servers, by their keys.
    pub(crate) async fn ask_again(self, mut rng: Rng) {
        let asked = self.ledger.some_keys(&mut rng, 10).into_iter().map(|(key, order)| {
            let wish = Wish { key: Some(key), ..Wish::default() };
            let load = self.clone();
            async move { load.until_answered(&order, &wish).await }
        });
        join_all(asked).await;
    }

    /// How far the server's clock is from ours, seconds, by a job that it makes; `None` if it makes
    /// none now.
    pub(crate) async fn clock(&self, rng: &mut Rng) -> Option<i64> {
        let order = Order::of(Kind::Echo, rng);
        let id = self.plain(&order, &Wish::default()).await?;
        let request = self.client.request(Method::GET, &format!("/v1/jobs/{id}")).await;
        let job: Value = request.send().await.ok()?.json().await.ok()?;
        let created: Timestamp = job["created_at"].as_str()?.parse().ok()?;
        Some(created.as_second() - Timestamp::now().as_second())
    }

    /// Has a job of its own: it's over when the client leaves, or the server dies.
    async fn attached(&self, order: &Order, rng: &mut Rng) {
        let path = format!("/v1/operations/{}", order.operation);
        let mut request = self.client.request(Method::POST, &path).await;
        if let Some(timeout) = order.timeout() {
            request = request.header("skep-timeout", timeout);
        }
        let request = request.header("accept", "text/event-stream").json(&order.input);
        let Ok(response) = request.send().await else {
            return count(&self.ledger.counters.unanswered);
        };
        match (response.status().as_u16(), job_of(&response)) {
            (200, Some(id)) => {
                self.ledger.accept(id, order, true);
                let manner = if rng.bool() { Manner::Live } else { Manner::Restless };
                self.reader(id, manner, rng).read_own(response).await;
            }
            _ if is_refusal(&response) => count(&self.ledger.counters.refused),
            _ => {
                let answer = describe(response).await;
                let what = format!("to an attached {order:?}: {answer}");
                self.ledger.violate_as_a_whole("wrong answers", what);
            }
        }
    }

    /// Cancels a job, and asks until it's answered.
    async fn cancel(&self, id: JobId) {
        self.ledger.cancel(id, Cancel::Asked);
        loop {
            let request = self.client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
            let Ok(response) = request.send().await else {
                sleep(PAUSE).await;
                continue;
            };
            match response.status().as_u16() {
                202 => {
                    count(&self.ledger.counters.cancelled);
                    return self.ledger.cancel(id, Cancel::Promised);
                }
                409 => return self.has_ended(id).await,
                _ if is_refusal(&response) => sleep(PAUSE).await,
                _ => {
                    let what = format!("to who cancels it: {}", describe(response).await);
                    return self.ledger.violate("wrong answers", id, what);
                }
            }
        }
    }

    /// Whether a job has ended that couldn't be cancelled: it has, or its end is being stored.
    async fn has_ended(&self, id: JobId) {
        let until = Instant::now() + END_PATIENCE;
        loop {
            let request = self.client.request(Method::GET, &format!("/v1/jobs/{id}")).await;
            if let Ok(response) = request.send().await
                && response.status() == 200
                && let Ok(job) = response.json::<Value>().await
            {
                if !job["ended_at"].is_null() {
                    return;
                }
                if Instant::now() > until {
                    let what = format!("it could not be cancelled, and is still {}", job["state"]);
                    return self.ledger.violate("wrong answers", id, what);
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Pages through the list of jobs: each is there once, the newest first, whatever comes meanwhile.
    async fn page(&self, rng: &mut Rng) {
        let mut walk = Walk::new(rng.usize(1..=100));
        for _ in 0..rng.u32(1..=MAX_PAGES) {
            let Some(path) = walk.path() else { return };
            let Ok(response) = self.client.request(Method::GET, &path).await.send().await else {
                return;
            };
            if is_refusal(&response) {
                return;
            }
            if response.status() != 200 {
                let what = format!("to {path}: {}", describe(response).await);
                return self.ledger.violate_as_a_whole("wrong answers", what);
            }
            // The server may die in the middle of its answer.
            let Ok(page) = response.json().await else { return };
            walk.take(page, &self.ledger);
        }
    }
}
