//! What is asked of one process of a worker, and what it says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::log::Position;
use crate::protocol::{Ask, Reply, Request, Say};
use crate::queue::Place;

/// The most requests that a worker works on at once.
pub(crate) const MAX_SLOTS: usize = 64;

/// How many requests may wait to be written: of each that is worked on its line, and its cancellation and
/// that of the one before it; and a ping.
const REQUESTS: usize = 3 * MAX_SLOTS + 2;

/// How many replies may wait for the job that they are for; then the process waits.
const REPLIES: usize = 64;

/// The server's side of a worker's process, until that ends.
pub(crate) struct Session {
    pub(crate) pid: u32,
    /// Where the worker's log was when it began.
    pub(crate) begin: Position,
    requests: mpsc::Sender<Request>,
    last_request: AtomicU64,
    /// The requests that are worked on, by their ids; none any more when the process has ended.
    current: Mutex<Option<HashMap<u64, Current>>>,
    /// The process has said something since that was last asked.
    was_heard: AtomicBool,
    /// What it said waits for its job; what it says meanwhile isn't read.
    is_deaf: AtomicBool,
    exit: watch::Sender<Option<Exit>>,
}

/// The end of a process.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    /// How it came, in words.
    pub(crate) how: String,
    /// The last lines of its log.
    pub(crate) lines: Vec<String>,
}

/// A request that is worked on.
struct Current {
    replies: mpsc::Sender<Say>,
    /// Left with the last reply, even if nobody waits for it any more.
    _place: Place,
}

/// The process has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl Session {
    /// One with process `pid`, and what is to be written to that.
    pub(crate) fn new(pid: u32, begin: Position) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, to_process) = mpsc::channel(REQUESTS);
        let session = Self {
            pid,
            begin,
            requests,
            last_request: AtomicU64::new(0),
            current: Mutex::new(Some(HashMap::new())),
            was_heard: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            exit: watch::Sender::new(None),
        };
        (Arc::new(session), to_process)
    }

    /// Asks the process for something; it's the turn of `place`. Cancel-safe: a dropped future has asked
    /// for nothing.
    ///
    /// # Errors
    /// The place, if the process has ended.
    pub(crate) async fn ask(self: &Arc<Self>, ask: Ask, place: Place) -> Result<Replies, Place> {
        let Ok(permit) = self.requests.reserve().await else { return Err(place) };
        let id = self.next_id();
        let (sender, receiver) = mpsc::channel(REPLIES);
        match self.current().as_mut() {
            Some(current) => current.insert(id, Current { replies: sender, _place: place }),
            None => return Err(place),
        };
        permit.send(Request { id, ask });
        Ok(Replies { id, receiver, ended: false, session: self.clone() })
    }

    /// Asks the process for a sign of life; `false` if there's no room for that now.
    pub(crate) fn ping(&self) -> bool {
        self.requests.try_send(Request { id: self.next_id(), ask: Ask::Ping(true) }).is_ok()
    }

    /// Whether the process has said something since this was last asked, or couldn't be heard.
    pub(crate) fn was_heard(&self) -> bool {
        self.was_heard.swap(false, Ordering::Relaxed) || self.is_deaf.load(Ordering::Relaxed)
    }

    /// Takes what the process said, and gives it to the job that it's for.
    pub(crate) async fn heard(&self, Reply { id, say }: Reply) {
        self.was_heard.store(true, Ordering::Relaxed);
        let current = || Some((id?, self.current().as_ref()?.get(&id?)?.replies.clone()));
        let Some((id, replies)) = current() else { return };
        let last = matches!(say, Say::Result(_) | Say::Error(_));
        self.is_deaf.store(true, Ordering::Relaxed);
        // A job that was cancelled doesn't listen any more.
        let _ = replies.send(say).await;
        self.was_heard.store(true, Ordering::Relaxed);
        self.is_deaf.store(false, Ordering::Relaxed);
        if last && let Some(current) = self.current().as_mut() {
            current.remove(&id);
        }
    }

    /// The process has ended: fails all that wait for its replies.
    pub(crate) fn has_ended(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
        self.current().take();
    }

    /// Waits until the process has ended, and says how. Cancel-safe.
    pub(crate) async fn exit(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await;
        let Ok(Some(exit)) = exit.as_deref() else { unreachable!("the session has the sender") };
        exit.clone()
    }

    fn next_id(&self) -> u64 {
        self.last_request.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn current(&self) -> MutexGuard<'_, Option<HashMap<u64, Current>>> {
        // Only map operations run under the lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a process replies to one request. Dropped before the last reply, it cancels the request.
pub(crate) struct Replies {
    id: u64,
    receiver: mpsc::Receiver<Say>,
    ended: bool,
    session: Arc<Session>,
}

impl Replies {
    /// The next reply; the last one is `Result` or `Error`. Cancel-safe.
    ///
    /// # Errors
    /// If the process has ended before.
    pub(crate) async fn next(&mut self) -> Result<Say, Ended> {
        let say = self.receiver.recv().await;
        self.ended = say.as_ref().is_none_or(|say| matches!(say, Say::Result(_) | Say::Error(_)));
        say.ok_or(Ended)
    }

    /// The process that is asked.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if !self.ended {
            // There is room, see `REQUESTS`; a process that has ended has nothing to cancel.
            let _ = self.session.requests.try_send(Request { id: self.id, ask: Ask::Cancel(true) });
        }
    }
}
