//! The link to one hive: what is heard of it, and whether it's alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use skep_relay::{Abandoned, Failure, Frames};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::abandoned::AbandonedJobs;
use crate::heartbeat::Heartbeat;
use crate::hive::{Entry, State};
use crate::known::{Known, Thresholds};
use crate::news::{self, News, Told};
use crate::way::Way;

/// The pause before a hive that can't be heard is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long is waited for what a hive tells at once, if it tells anything.
const MOMENT: Duration = Duration::from_secs(1);

/// A hive that is followed, until the link is closed.
pub(crate) struct Link {
    pub(crate) entry: Entry,
    /// The way there, which every request goes.
    pub(crate) way: Way,
    thresholds: Thresholds,
    since: Instant,
    news: News,
    known: watch::Sender<Known>,
    pub(crate) lasting: Arc<Lasting>,
    closed: CancellationToken,
}

/// What concerns the hive, whatever way leads to it: who changes its entry makes another link, and this
/// goes over to that.
#[derive(Default)]
pub(crate) struct Lasting {
    abandoned: AbandonedJobs,
    /// Held while its server is started or stopped.
    pub(crate) starting: Mutex<()>,
}

impl Link {
    /// A link that nothing has come by yet, in place of a `former` one.
    pub(crate) fn new(
        entry: Entry,
        way: Way,
        thresholds: Thresholds,
        news: News,
        former: Option<&Self>,
    ) -> Self {
        Self {
            entry,
            way,
            thresholds,
            since: Instant::now(),
            news,
            known: watch::Sender::default(),
            lasting: former.map(|former| former.lasting.clone()).unwrap_or_default(),
            closed: CancellationToken::new(),
        }
    }

    /// What is known of it now.
    pub(crate) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Whether anything is expected of the hive.
    pub(crate) fn is_expected(&self) -> bool {
        self.known.borrow().state != State::Offline
    }

    /// What becomes known of it.
    pub(crate) fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Waits until there's nothing to expect of the hive: it's offline, or no longer in the catalog as it
    /// was. One that was never heard has as long for it as one that was.
    pub(crate) async fn gone(&self) {
        let mut known = self.watch();
        let offline = async {
            let _ = known.wait_for(|known| known.state == State::Offline).await;
            if known.borrow().heard.is_none() {
                let online = known.wait_for(|known| known.state == State::Online);
                if timeout_at(self.since + self.thresholds.offline, online).await.is_ok() {
                    // It was heard at last; from now on its silence counts.
                    let _ = known.wait_for(|known| known.state == State::Offline).await;
                }
            }
        };
        tokio::select! {
            () = offline => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// Whether there's nothing to expect of the hive, as [`gone`](Self::gone) says.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone().now_or_never().is_some()
    }

    /// Waits until the hive is online.
    pub(crate) async fn online(&self) {
        let mut known = self.watch();
        // The link has the sender: it comes, or the wait goes on.
        let _ = known.wait_for(|known| known.state == State::Online).await;
    }

    /// Waits until something is known of the hive, for a moment.
    pub(crate) async fn settled(&self) {
        let mut known = self.watch();
        let settled =
            known.wait_for(|known| known.state == State::Online || known.failure.is_some());
        // Then it's not known yet.
        let _ = timeout(MOMENT, settled).await;
    }

    /// Asks the hive how it is, rather than wait until it tells; waits for a moment.
    pub(crate) async fn ask(&self) {
        let Some(server) = self.way.server() else { return };
        let asked = timeout(MOMENT, server.get::<Vec<Told>>(news::PATH)).await;
        if let Ok(Ok(told)) = asked
            && let Some(heartbeat) = told.into_iter().find_map(Told::of_its_teller)
        {
            self.heard(heartbeat);
        }
    }

    /// The hive was stopped: it's offline, without a wait.
    pub(crate) fn stopped(&self) {
        let failure = Some("it was stopped".to_owned());
        self.known.send_modify(|known| *known = Known { failure, ..Known::default() });
        self.tell();
    }

    /// Stops following it, for good.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Has a job there cancelled, when the hive can be reached.
    pub(crate) fn abandon(&self, job: Abandoned) {
        self.lasting.abandoned.add(job);
    }

    /// Has the jobs cancelled that are to be cancelled now, if the hive can be reached within a moment.
    pub(crate) async fn cancel_rest(&self) {
        if let Some(server) = self.way.server().filter(|_| self.is_expected()) {
            let _ = timeout(MOMENT, self.lasting.abandoned.cancel(&self.entry.id, &server)).await;
        }
    }

    /// Follows the hive until the link is closed.
    pub(crate) async fn follow(self: Arc<Self>) {
        tokio::select! {
            () = self.listen() => {}
            () = self.tell_time() => {}
            () = self.cancel_abandoned() => {}
            () = self.closed.cancelled() => {}
        }
        // Who has it do a job notices, too, that there's no such hive any more.
        let _ = timeout(MOMENT, self.cancel_abandoned()).await;
        self.way.close().await;
    }

    /// Hears what the hive tells, over as many connections as it takes.
    async fn listen(&self) {
        loop {
            let failure = self.hear().await;
            debug!(hive = %self.entry.id, "nothing is heard of the hive: {failure}");
            self.known.send_modify(|known| known.failure = Some(failure));
            sleep(PAUSE).await;
        }
    }

    /// Hears what the hive tells, over one connection. Returns why it's over.
    async fn hear(&self) -> String {
        let server = match self.way.open().await {
            Ok(server) => server,
            Err(why) => return why,
        };
        let mut frames = match server.events(news::STREAM_PATH).await {
            Ok(Some(frames)) => frames,
            Ok(None) => return "it tells nothing".to_owned(),
            Err(failure) => return self.way.failed(&failure).await,
        };
        loop {
            if let Some(heartbeat) = latest(&mut frames) {
                self.heard(heartbeat);
            }
            // The way may have broken without a word: what is sent there is lost, and nothing is sent.
            let silence = self.thresholds.offline;
            let silent = |_| Err(Failure::Broken(format!("nothing has come for {silence:?}")));
            match timeout(silence, frames.more()).await.unwrap_or_else(silent) {
                Ok(true) => {}
                Ok(false) => return "its server has gone down".to_owned(),
                Err(failure) => return self.way.failed(&failure).await,
            }
        }
    }

    fn heard(&self, heartbeat: Heartbeat) {
        if self.known.borrow().state != State::Online {
            info!(hive = %self.entry.id, "the hive is online");
        }
        self.known.send_replace(Known {
            state: State::Online,
            heartbeat: Some(Arc::new(heartbeat)),
            heard: Some(Instant::now()),
            heard_at: Some(Timestamp::now()),
            failure: None,
        });
        self.tell();
    }

    /// Enters the states that time brings.
    async fn tell_time(&self) {
        let mut known = self.watch();
        loop {
            let heard = known.borrow_and_update().heard;
            let (state, next) = self.thresholds.state(heard, Instant::now());
            self.enter(state);
            let next = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next => {}
                // The link has the sender.
                _ = known.changed() => {}
            }
        }
    }

    fn enter(&self, state: State) {
        let changed = self.known.send_if_modified(|known| {
            let changed = known.state != state;
            if changed {
                warn!(hive = %self.entry.id, "the hive is {}", state.as_str());
                known.state = state;
            }
            changed
        });
        if changed {
            self.tell();
        }
    }

    /// Tells those who watch all hives.
    fn tell(&self) {
        self.news.publish(|| Told::of(&self.entry.id, &self.known()));
    }

    /// Cancels what nobody waits for any more, whenever the hive can be reached.
    async fn cancel_abandoned(&self) {
        let abandoned = &self.lasting.abandoned;
        loop {
            abandoned.some().await;
            self.online().await;
            let is_done = match self.way.server() {
                Some(server) => abandoned.cancel(&self.entry.id, &server).await,
                None => false,
            };
            if !is_done {
                sleep(PAUSE).await;
            }
        }
    }
}

/// The last heartbeat of those that have come: it tells more than all before it.
fn latest(frames: &mut Frames) -> Option<Heartbeat> {
    let mut latest = None;
    while let Some(frame) = frames.ready() {
        if let Ok(told) = serde_json::from_slice::<Told>(frame.data) {
            latest = told.of_its_teller().or(latest);
        }
    }
    latest
}
