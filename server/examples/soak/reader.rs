//! Those who read jobs: each in its own manner, through kills.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::Value;
use skep::JobId;
use tokio::time::sleep;

use crate::client::{Client, describe, is_refusal, take_frames};
use crate::ledger::{Ledger, Sight, count};

/// How long a reader waits before it asks again whom it was refused by.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a slow reader is slow, chunks: it's behind by then, and is to get to the end.
const SLOW: usize = 60;

/// How often a reader comes back who gets nothing.
const VISITS: u32 = 300;

/// How someone reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// From the first event to the last, as they come.
    Live,
    /// The same, and hangs up now and then.
    Restless,
    /// From an event on.
    From(u64),
    /// Slower than most jobs write.
    Slow,
    /// Asks for the job's end, not for its events.
    Poll,
}

impl Manner {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..10) {
            0..4 => Self::Live,
            4..6 => Self::Restless,
            6 => Self::From(rng.u64(1..30)),
            7 => Self::Slow,
            _ => Self::Poll,
        }
    }
}

/// What a connection came to.
enum Came {
    /// There's nothing more.
    ToEnd,
    /// It broke, or was broken off.
    Off,
}

/// One reader of one job.
pub(crate) struct Reader {
    pub(crate) client: Client,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) id: JobId,
    pub(crate) manner: Manner,
    pub(crate) rng: Rng,
}

impl Reader {
    /// Reads until the job has ended.
    pub(crate) async fn read(mut self) {
        if let Manner::Poll = self.manner {
            return self.poll().await;
        }
        let after = if let Manner::From(after) = self.manner { after } else { 0 };
        let mut sight = Sight::after(after);
        let mut in_vain = 0;
        loop {
            let (before, last) = (sight.events.len(), sight.last());
            match self.client.stream(self.id, last).await {
                Ok(response) => match self.follow(response, &mut sight).await {
                    Came::ToEnd => break,
                    Came::Off if sight.events.len() > before => {
                        in_vain = 0;
                        count(&self.ledger.counters.resumes);
                    }
                    Came::Off => {
                        in_vain += 1;
                        if in_vain > VISITS {
                            let what = format!("a reader gets nothing after event {last}");
                            self.ledger.violate("lost", self.id, what);
                            break;
                        }
                        sleep(PAUSE).await;
                    }
                },
                // The server is gone; the next one's address comes when it's there.
                Err(_) => sleep(PAUSE / 4).await,
            }
        }
        self.ledger.saw(self.id, sight);
    }

    /// Reads what a stream gives; its frames are `sight`'s from the request's start on.
    async fn follow(&mut self, response: Response, sight: &mut Sight) -> Came {
        match response.status().as_u16() {
            200 => {}
            // It had been read to its end.
            204 => {
                sight.is_whole = true;
                return Came::ToEnd;
            }
            _ if is_refusal(&response) => {
                sleep(PAUSE).await;
                return Came::Off;
            }
            404 => {
                self.ledger.violate("lost", self.id, "a reader finds it unknown".to_owned());
                return Came::ToEnd;
            }
            _ => {
                let answer = describe(response).await;
                self.ledger.violate("wrong answers", self.id, format!("to a reader: {answer}"));
                return Came::ToEnd;
            }
        }
        let hangs_up_after = match self.manner {
            Manner::Restless => self.rng.usize(1..6),
            _ => usize::MAX,
        };
        let mut chunks = response.bytes_stream();
        let mut buffer = Vec::new();
        for chunks_before in 0..hangs_up_after {
            let Some(Ok(chunk)) = chunks.next().await else { break };
            buffer.extend_from_slice(&chunk);
            take_frames(&mut buffer, |frame| {
                let last = sight.last();
                if frame.id <= last {
                    let what = format!("event {} came after event {last}", frame.id);
                    self.ledger.violate("ids that don't grow", self.id, what);
                }
                sight.events.push((frame.id, frame.hash));
                sight.has_end |= frame.event == "end";
            });
            if sight.has_end {
                sight.is_whole = true;
                return Came::ToEnd;
            }
            if let (Manner::Slow, 0..SLOW) = (self.manner, chunks_before) {
                sleep(Duration::from_millis(self.rng.u64(10..150))).await;
            }
        }
        Came::Off
    }

    /// Asks for the job until it has ended.
    async fn poll(&mut self) {
        loop {
            let path = format!("/v1/jobs/{}?wait={}s", self.id, self.rng.u8(1..5));
            let answer = match self.client.request(Method::GET, &path).await.send().await {
                Ok(response) if response.status() == 200 => response.json::<Value>().await.ok(),
                Ok(response) if !is_refusal(&response) => {
                    let what = format!("to a poller: {}", describe(response).await);
                    return self.ledger.violate("wrong answers", self.id, what);
                }
                _ => None,
            };
            match answer {
                Some(job) if !job["ended_at"].is_null() => {
                    return self.ledger.told(self.id, job["state"].as_str().unwrap_or_default());
                }
                Some(_) => {}
                None => sleep(PAUSE / 4).await,
            }
        }
    }

    /// Reads the stream of a request that the job belongs to: once, for if it breaks, the job ends.
    pub(crate) async fn read_own(mut self, response: Response) {
        let mut sight = Sight::after(0);
        self.follow(response, &mut sight).await;
        self.ledger.saw(self.id, sight);
    }
}
