//! The live part of a running job's log: what its readers are sent, and what the store hasn't yet.
//!
//! Events are written once, as frames, into a growing *tail*. A tail that has reached
//! [`SEGMENT_SIZE`] is frozen into a [`Segment`], which readers share without copying; once the
//! store has it, it leaves memory, and a reader that is behind gets it from the store. Where the
//! store is durable, the [`Flusher`] has a tail frozen too that has waited for a while, however small.
//!
//! Readers see events before the store has them. After a crash those are gone, and their ids must
//! not come again: a log never has more than [`MAX_UNSTORED_EVENTS`] that aren't stored, and a log
//! that [goes on](Log::resume) leaves out as many ids, for every life of its job that may have used
//! some.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::job::event::IdLine;
use crate::job::flush::Flusher;
use crate::store::{Position, Segment, start_of};

/// The size at which a tail is frozen, bytes. Smaller ones cost the store more calls, larger ones
/// each job more memory.
pub(crate) const SEGMENT_SIZE: usize = 64 * 1024;

/// How much may wait for the store before `emit` waits too, bytes: more than a fast job emits while a
/// disk syncs twice, or it would wait for each sync.
const MAX_UNSTORED: u64 = 64 * SEGMENT_SIZE as u64;

/// How much of that each log has for itself. For more there's room while all of them together hold
/// back [little](Flusher::has_room).
const OWN_UNSTORED: u64 = 16 * SEGMENT_SIZE as u64;

/// How many events may wait for the store: all but [`ENGINE_EVENTS`] before `emit` waits too.
const MAX_UNSTORED_EVENTS: u64 = 128 * 1024;

/// How many of them are the engine's, which doesn't wait: more than it ever adds to one attempt.
const ENGINE_EVENTS: u64 = 16;

/// The live part of one job's log.
pub(crate) struct Log {
    state: Mutex<State>,
    /// There's a segment, or the log is closed: who stores has to look.
    pending: Notify,
    /// A segment has been stored, or the log closed: emitters that waited have to look.
    stored: Notify,
    /// `None` if the store is no safer a place than this one.
    flusher: Option<Arc<Flusher>>,
    max_bytes: u64,
    #[cfg(feature = "testing")]
    pub(crate) hold: crate::testing::Hold,
}

struct State {
    /// Frozen segments that the store doesn't have yet, oldest first.
    unstored: VecDeque<Segment>,
    /// How many bytes of them the flusher has counted.
    counted: u64,
    /// The frames after them.
    tail: Vec<u8>,
    /// How large the tail will be, most likely: a buffer that grows copies what it has each time.
    expected: usize,
    /// The id of the tail's first event, or of the next one if it's empty.
    tail_first: u64,
    /// The bytes of the log before the tail.
    tail_offset: u64,
    /// The id that the next event gets, as it's written.
    next: IdLine,
    /// The id of the last event that the store has and memory doesn't; 0 if there is none.
    stored: u64,
    phase: Phase,
    /// The flusher has been told of it, and will come.
    is_noted: bool,
    /// Readers that have seen everything and wait for more, by their keys.
    waiting: Vec<(usize, Waker)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No handler runs: only the engine adds events.
    Closed,
    /// The handler of this attempt may add events.
    Open(u32),
    /// Nothing more comes, in this process at least: the end is stored, and told, or the job is left
    /// to another process.
    Over,
}

/// Why an event was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The attempt is over.
    Closed,
    /// The log would be over its limit.
    TooLarge,
    /// The store is behind: the emitter has to wait for [`Log::room`].
    Behind,
}

/// What a reader gets.
pub(crate) enum Read {
    /// Frames, and the place behind them.
    Frames(Bytes, Position),
    /// The next event has left memory: the store has it.
    Stored,
    /// There is nothing more, ever.
    End,
}

impl Log {
    /// An empty log that takes `max_bytes` at most from handlers.
    pub(crate) fn new(max_bytes: u64, flusher: Option<Arc<Flusher>>) -> Self {
        Self::from(0, 0, 1, max_bytes, flusher)
    }

    /// A log that goes on behind `end`, as far as the store had it when another process died.
    ///
    /// `life` is larger than in any process before this one that added other events than this one
    /// does. Several of them may have found the same `end`: those that died before the store had
    /// anything of theirs.
    pub(crate) fn resume(
        end: Position,
        life: u32,
        max_bytes: u64,
        flusher: Option<Arc<Flusher>>,
    ) -> Self {
        let offset = end.offset.unwrap_or_default();
        let next = end.event + u64::from(life) * MAX_UNSTORED_EVENTS + 1;
        Self::from(end.event, offset, next, max_bytes, flusher)
    }

    /// Leaves out as many ids as another process may have told under, which had gone on behind the same
    /// end and died. For a log of which nothing is told yet.
    pub(crate) fn leave_out(&self) {
        let mut state = self.lock();
        state.next = IdLine::new(state.next.id() + MAX_UNSTORED_EVENTS);
        state.tail_first = state.next.id();
    }

    fn from(
        stored: u64,
        offset: u64,
        next: u64,
        max_bytes: u64,
        flusher: Option<Arc<Flusher>>,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                unstored: VecDeque::new(),
                counted: 0,
                tail: Vec::new(),
                expected: 0,
                tail_first: next,
                tail_offset: offset,
                next: IdLine::new(next),
                stored,
                phase: Phase::Closed,
                is_noted: false,
                waiting: Vec::new(),
            }),
            pending: Notify::new(),
            stored: Notify::new(),
            flusher,
            max_bytes,
            #[cfg(feature = "testing")]
            hold: crate::testing::Hold::new(),
        }
    }

    /// No author's code runs under this lock, and no other lock is taken under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event of the handler's `attempt`, and wakes the readers that wait. `body` is what
    /// [`write_body`](crate::job::event::write_body) writes.
    pub(crate) fn push(self: &Arc<Self>, attempt: u32, body: &[u8]) -> Result<(), Refused> {
        let state = self.lock();
        if state.phase != Phase::Open(attempt) {
            return Err(Refused::Closed);
        }
        let size = state.tail_offset + (state.tail.len() + body.len()) as u64;
        if size > self.max_bytes {
            return Err(Refused::TooLarge);
        }
        if self.is_behind(&state) {
            return Err(Refused::Behind);
        }
        self.add(state, body);
        Ok(())
    }

    /// Adds an event of the engine, which is small and always has room.
    pub(crate) fn announce(self: &Arc<Self>, body: &[u8]) {
        let state = self.lock();
        if state.phase != Phase::Over {
            self.add(state, body);
        }
    }

    #[inline]
    fn add(self: &Arc<Self>, mut guard: MutexGuard<'_, State>, body: &[u8]) {
        let state = &mut *guard;
        let before = state.unstored.len();
        // Frozen before it would outgrow its buffer, so that a buffer never doubles past it.
        if state.tail.len() + IdLine::SIZE + body.len() > SEGMENT_SIZE {
            state.freeze();
        }
        if state.tail.is_empty() {
            state.tail = Vec::with_capacity(state.expected);
        }
        state.next.write_frame(&mut state.tail, body);
        state.next.advance();
        // One large event goes to the store at once: it must not stay here uncounted.
        if state.tail.len() >= SEGMENT_SIZE {
            state.freeze();
        }
        let has_frozen = state.unstored.len() > before;
        let is_news = !state.is_noted && matches!(state.phase, Phase::Open(_));
        state.is_noted |= is_news;
        // Mostly there's nothing to do but to give back the lock.
        if !has_frozen && !is_news && state.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        if has_frozen {
            self.count(state);
        }
        drop(guard);
        if has_frozen {
            self.pending.notify_one();
        }
        if is_news && let Some(flusher) = &self.flusher {
            flusher.note(self);
        }
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Freezes what has waited for a while.
    pub(super) fn flush(&self) {
        {
            let mut state = self.lock();
            state.is_noted = false;
            // What a closed log has goes to the store in other ways.
            if !matches!(state.phase, Phase::Open(_)) {
                return;
            }
            state.freeze();
            self.count(&mut state);
        }
        self.pending.notify_one();
    }

    /// Has the flusher know how much the store doesn't have. Called wherever that has changed.
    fn count(&self, state: &mut State) {
        if let Some(flusher) = &self.flusher {
            let is_over = state.phase == Phase::Over;
            let now = if is_over { 0 } else { state.unstored_bytes() };
            flusher.count(std::mem::replace(&mut state.counted, now), now);
        }
    }

    /// Whether the store has to catch up before there's room for more.
    fn is_behind(&self, state: &State) -> bool {
        let bytes = state.unstored_bytes();
        let has_room = bytes < OWN_UNSTORED
            || (bytes < MAX_UNSTORED && self.flusher.as_ref().is_none_or(|all| all.has_room()));
        matches!(state.phase, Phase::Open(_))
            && (!has_room || state.unstored_events() >= MAX_UNSTORED_EVENTS - ENGINE_EVENTS)
    }

    /// Waits until the store has caught up far enough for another event. Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            // Registered before the look, so that a segment stored in between is not missed.
            let stored = self.stored.notified();
            {
                let state = self.lock();
                if !self.is_behind(&state) {
                    return;
                }
            }
            stored.await;
        }
    }

    /// Waits until the store has all events so far. Cancel-safe.
    ///
    /// # Errors
    /// [`Refused::Closed`] if the attempt is over, or is before that.
    pub(crate) async fn settled(&self, attempt: u32) -> Result<(), Refused> {
        let last = {
            let mut state = self.lock();
            if state.phase != Phase::Open(attempt) {
                return Err(Refused::Closed);
            }
            state.freeze();
            self.count(&mut state);
            state.next.id() - 1
        };
        self.pending.notify_one();
        loop {
            // As in `room`.
            let stored = self.stored.notified();
            {
                let state = self.lock();
                if state.phase != Phase::Open(attempt) {
                    return Err(Refused::Closed);
                }
                if state.unstored.front().is_none_or(|first| first.first > last) {
                    return Ok(());
                }
            }
            stored.await;
        }
    }

    /// The segments that the store doesn't have, oldest first; waits for some. `None` once the log
    /// is closed: then [`rest`](Self::rest) has the others. Cancel-safe.
    pub(crate) async fn unstored(&self) -> Option<Vec<Segment>> {
        loop {
            {
                let state = self.lock();
                if !matches!(state.phase, Phase::Open(_)) {
                    return None;
                }
                if !state.unstored.is_empty() {
                    return Some(state.unstored.iter().cloned().collect());
                }
            }
            // It keeps a notice for who isn't there yet.
            self.pending.notified().await;
        }
    }

    /// The oldest `count` unstored segments are stored now, and leave memory.
    pub(crate) fn mark_stored(&self, count: usize) {
        let mut state = self.lock();
        let last = state.unstored.drain(..count).next_back();
        if let Some(last) = last {
            state.stored = last.last;
        }
        self.count(&mut state);
        drop(state);
        self.stored.notify_waiters();
    }

    /// Takes events of the handler's `attempt`.
    pub(crate) fn open(&self, attempt: u32) {
        self.lock().phase = Phase::Open(attempt);
    }

    /// Takes no more events from a handler.
    pub(crate) fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.stored.notify_waiters();
        self.pending.notify_one();
    }

    /// The id of the last event so far; 0 if there is none.
    pub(crate) fn last_event(&self) -> u64 {
        let state = self.lock();
        let is_all_stored = state.tail.is_empty() && state.unstored.is_empty();
        if is_all_stored { state.stored } else { state.next.id() - 1 }
    }

    /// All that the store doesn't have, oldest first.
    pub(crate) fn rest(&self) -> Vec<Segment> {
        let mut state = self.lock();
        state.freeze();
        self.count(&mut state);
        state.unstored.iter().cloned().collect()
    }

    /// All that the store doesn't have of the closed log, oldest first, and the last of these
    /// segments: the tail, and the end event with `body`. Readers don't see the end before
    /// [`finish`](Self::finish).
    pub(crate) fn rest_with_end(&self, body: &[u8]) -> (Vec<Segment>, Segment) {
        let state = self.lock();
        let mut bytes = Vec::with_capacity(state.tail.len() + IdLine::SIZE + body.len());
        bytes.extend_from_slice(&state.tail);
        state.next.write_frame(&mut bytes, body);
        let last = Segment {
            first: state.tail_first,
            last: state.next.id(),
            offset: state.tail_offset,
            bytes: bytes.into(),
        };
        (state.unstored.iter().chain([&last]).cloned().collect(), last)
    }

    /// Ends the readers' streams without an end: the job goes on in another process.
    pub(crate) fn leave(&self) {
        let waiting = {
            let mut state = self.lock();
            state.phase = Phase::Over;
            self.count(&mut state);
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Publishes `last`, which the store has now, with all that was still unstored.
    pub(crate) fn finish(&self, last: Segment) {
        let waiting = {
            let mut state = self.lock();
            state.next = IdLine::new(last.last + 1);
            state.tail_first = state.next.id();
            state.tail_offset = last.offset + last.bytes.len() as u64;
            state.tail = Vec::new();
            // Kept here for the readers that are nearly there: most of them. Others have the store.
            state.unstored.push_back(last);
            while state.unstored_bytes() > OWN_UNSTORED
                && let Some(oldest) = state.unstored.pop_front()
            {
                state.stored = oldest.last;
            }
            state.phase = Phase::Over;
            self.count(&mut state);
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// All that stands after `position` and can be had at once; else waits.
    ///
    /// `reader` tells one reader from the others.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        reader: usize,
        position: Position,
    ) -> Poll<Read> {
        let mut state = self.lock();
        if let Some(read) = state.read(position) {
            return Poll::Ready(read);
        }
        match state.waiting.iter_mut().find(|(key, _)| *key == reader) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.waiting.push((reader, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// A reader is gone: it's not to be woken.
    pub(crate) fn forget(&self, reader: usize) {
        self.lock().waiting.retain(|(key, _)| *key != reader);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A job whose task was dropped with its runtime.
        if let Some(flusher) = &self.flusher {
            flusher.count(self.lock().counted, 0);
        }
    }
}

impl State {
    /// How much of the log is frozen, and not stored.
    fn unstored_bytes(&self) -> u64 {
        self.tail_offset - self.unstored.front().map_or(self.tail_offset, |oldest| oldest.offset)
    }

    /// How many events the store doesn't have.
    fn unstored_events(&self) -> u64 {
        self.next.id() - self.unstored.front().map_or(self.tail_first, |oldest| oldest.first)
    }

    fn freeze(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.tail);
        // What is kept for long takes no more than it has to.
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        self.expected = bytes.len().next_power_of_two().min(SEGMENT_SIZE);
        let segment = Segment {
            first: self.tail_first,
            last: self.next.id() - 1,
            offset: self.tail_offset,
            bytes: bytes.into(),
        };
        self.tail_first = self.next.id();
        self.tail_offset += segment.bytes.len() as u64;
        self.unstored.push_back(segment);
    }

    fn read(&self, position: Position) -> Option<Read> {
        if position.event < self.stored {
            return Some(Read::Stored);
        }
        // At most a handful of segments, and mostly the first one.
        if let Some(segment) = self.unstored.iter().find(|segment| segment.last > position.event) {
            return Some(Read::Frames(segment.after(position), segment.end()));
        }
        // `position` is whatever a client asks for, so nothing is added to it.
        if self.tail.is_empty() || position.event >= self.next.id() - 1 {
            return (self.phase == Phase::Over).then_some(Read::End);
        }
        let start = start_of(&self.tail, self.tail_first, self.tail_offset, position);
        let end = Position {
            event: self.next.id() - 1,
            offset: Some(self.tail_offset + self.tail.len() as u64),
        };
        Some(Read::Frames(Bytes::copy_from_slice(&self.tail[start..]), end))
    }
}

#[cfg(test)]
mod tests;
