//! The live part of a running job's log: what its readers are sent, and what the store hasn't yet.
//!
//! Events are written once, as frames, into a growing *tail*. A tail that has reached
//! [`SEGMENT_SIZE`] is frozen into a [`Segment`], which readers share without copying; once the
//! store has it, it leaves memory, and a reader that is behind gets it from the store.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::job::event::{Field, write_frame};
use crate::store::{Position, Segment, start_of};

/// The size at which a tail is frozen, bytes. Smaller ones cost the store more calls, larger ones
/// each job more memory.
pub(crate) const SEGMENT_SIZE: usize = 64 * 1024;

/// How much may wait for the store before `emit` waits too, bytes.
const MAX_UNSTORED: u64 = 4 * SEGMENT_SIZE as u64;

/// What a frame has beside its data, bytes at most: the id's digits and the fields' names.
const FRAME_OVERHEAD: usize = 64;

/// The live part of one job's log.
pub(crate) struct Log {
    state: Mutex<State>,
    /// A segment has been frozen, or the log closed: who stores them has to look.
    frozen: Notify,
    /// A segment has been stored, or the log closed: emitters that waited have to look.
    stored: Notify,
    max_bytes: u64,
}

struct State {
    /// Frozen segments that the store doesn't have yet, oldest first.
    unstored: VecDeque<Segment>,
    /// The frames after them.
    tail: BytesMut,
    /// The id of the tail's first event, or of the next one if it's empty.
    tail_first: u64,
    /// The bytes of the log before the tail.
    tail_offset: u64,
    /// The id that the next event gets.
    next: u64,
    phase: Phase,
    /// Readers that have seen everything and wait for more, by their keys.
    waiting: Vec<(usize, Waker)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Events may be added.
    Open,
    /// The handler's time is over: only the engine adds the end.
    Closed,
    /// The end is stored, and told.
    Ended,
}

/// Why an event was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The job has ended, or is about to.
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
    /// An empty log that takes `max_bytes` at most.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            state: Mutex::new(State {
                unstored: VecDeque::new(),
                tail: BytesMut::new(),
                tail_first: 1,
                tail_offset: 0,
                next: 1,
                phase: Phase::Open,
                waiting: Vec::new(),
            }),
            frozen: Notify::new(),
            stored: Notify::new(),
            max_bytes,
        }
    }

    /// No author's code runs under this lock, and no other lock is taken under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and wakes the readers that wait. `data` is one line of JSON.
    pub(crate) fn push(&self, field: Field, data: &[u8]) -> Result<(), Refused> {
        let (waiting, froze) = {
            let mut state = self.lock();
            if state.phase != Phase::Open {
                return Err(Refused::Closed);
            }
            let size = state.tail_offset + (state.tail.len() + data.len()) as u64;
            if size > self.max_bytes {
                return Err(Refused::TooLarge);
            }
            if state.is_behind() {
                return Err(Refused::Behind);
            }
            let unstored = state.unstored.len();
            // Frozen before it would outgrow its buffer, so that a buffer never doubles past it.
            if !state.tail.is_empty()
                && state.tail.len() + FRAME_OVERHEAD + data.len() > SEGMENT_SIZE
            {
                state.freeze();
            }
            let id = state.next;
            write_frame(&mut state.tail, id, field, data);
            state.next += 1;
            // One large event goes to the store at once: it must not stay here uncounted.
            if state.tail.len() >= SEGMENT_SIZE {
                state.freeze();
            }
            (std::mem::take(&mut state.waiting), state.unstored.len() > unstored)
        };
        if froze {
            self.frozen.notify_one();
        }
        for (_, waker) in waiting {
            waker.wake();
        }
        Ok(())
    }

    /// Waits until the store has caught up far enough for another event. Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            // Registered before the look, so that a segment stored in between is not missed.
            let stored = self.stored.notified();
            {
                let state = self.lock();
                if !state.is_behind() {
                    return;
                }
            }
            stored.await;
        }
    }

    /// The oldest segment that the store doesn't have; waits for one. `None` once the log is
    /// closed: then the end takes the rest along. Cancel-safe.
    pub(crate) async fn unstored(&self) -> Option<Segment> {
        loop {
            {
                let state = self.lock();
                if state.phase != Phase::Open {
                    return None;
                }
                if let Some(segment) = state.unstored.front() {
                    return Some(segment.clone());
                }
            }
            self.frozen.notified().await;
        }
    }

    /// The oldest unstored segment is stored now, and leaves memory.
    pub(crate) fn mark_stored(&self) {
        self.lock().unstored.pop_front();
        self.stored.notify_waiters();
    }

    /// Takes no more events from the handler.
    pub(crate) fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.stored.notify_waiters();
        self.frozen.notify_one();
    }

    /// The id of the last event so far; 0 if there is none.
    pub(crate) fn last_event(&self) -> u64 {
        self.lock().next - 1
    }

    /// The closed log's last segment: the tail, and the end event with `data`. Readers don't see
    /// the end before [`finish`](Self::finish).
    pub(crate) fn last_segment(&self, data: &[u8]) -> Segment {
        let state = self.lock();
        let mut bytes = BytesMut::with_capacity(state.tail.len() + data.len() + FRAME_OVERHEAD);
        bytes.extend_from_slice(&state.tail);
        write_frame(&mut bytes, state.next, Field::End, data);
        Segment {
            first: state.tail_first,
            last: state.next,
            offset: state.tail_offset,
            bytes: bytes.freeze(),
        }
    }

    /// The segments that the store doesn't have, oldest first.
    pub(crate) fn all_unstored(&self) -> Vec<Segment> {
        self.lock().unstored.iter().cloned().collect()
    }

    /// Publishes `last`, which the store has now, with all that was still unstored.
    pub(crate) fn finish(&self, last: Segment) {
        let waiting = {
            let mut state = self.lock();
            state.next = last.last + 1;
            state.tail_first = state.next;
            state.tail_offset = last.offset + last.bytes.len() as u64;
            state.tail = BytesMut::new();
            // Kept here for the readers that are nearly there: most of them.
            state.unstored.push_back(last);
            state.phase = Phase::Ended;
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

impl State {
    /// Whether the store has to catch up before there's room for more.
    fn is_behind(&self) -> bool {
        let unstored = self.unstored.front().map_or(0, |first| self.tail_offset - first.offset);
        unstored >= MAX_UNSTORED && self.phase == Phase::Open
    }

    fn freeze(&mut self) {
        let bytes = self.tail.split().freeze();
        let segment = Segment {
            first: self.tail_first,
            last: self.next - 1,
            offset: self.tail_offset,
            bytes,
        };
        self.tail_first = self.next;
        self.tail_offset += segment.bytes.len() as u64;
        self.unstored.push_back(segment);
    }

    fn read(&self, position: Position) -> Option<Read> {
        // `position` is whatever a client asks for, so nothing is added to it.
        if position.event >= self.next - 1 {
            return (self.phase == Phase::Ended).then_some(Read::End);
        }
        let oldest = self.unstored.front().map_or(self.tail_first, |segment| segment.first);
        if position.event < oldest - 1 {
            return Some(Read::Stored);
        }
        // At most a handful of segments, and mostly the first one.
        if let Some(segment) = self.unstored.iter().find(|segment| segment.last > position.event) {
            return Some(Read::Frames(segment.after(position), segment.end()));
        }
        let start = start_of(&self.tail, self.tail_first, self.tail_offset, position);
        let end = Position {
            event: self.next - 1,
            offset: Some(self.tail_offset + self.tail.len() as u64),
        };
        Some(Read::Frames(Bytes::copy_from_slice(&self.tail[start..]), end))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;
    use crate::job::event::frames;

    async fn read(log: &Log, position: Position) -> Read {
        poll_fn(|cx| log.poll_read(cx, 0, position)).await
    }

    /// Pushes `sizes.len()` outputs, storing what is frozen if `store` says so; returns the log
    /// and what was stored.
    fn filled(sizes: &[usize], store: impl Fn(usize) -> bool) -> (Log, Vec<Segment>) {
        let (log, mut stored) = (Log::new(u64::MAX), Vec::new());
        for (at, size) in sizes.iter().enumerate() {
            let data = format!("\"{}\"", "x".repeat(*size));
            log.push(Field::Output, data.as_bytes()).unwrap();
            while store(at)
                && let Some(segment) = log.all_unstored().first()
            {
                stored.push(segment.clone());
                log.mark_stored();
            }
        }
        (log, stored)
    }

    proptest! {
        #[test]
        fn a_reader_from_anywhere_gets_each_later_event_once(
            sizes in prop::collection::vec(prop_oneof![0..100usize, 0..40_000usize], 1..40),
            stored_at in prop::collection::vec(any::<bool>(), 40),
            from in 0..40u64,
        ) {
            // Often enough that the store is never too far behind for one more.
            let (log, stored) = filled(&sizes, |at| stored_at[at] || at % 3 == 0);
            log.close();
            let last = log.last_segment(b"{}");
            log.finish(last);
            let runtime = Builder::new_current_thread().build().unwrap();
            let mut position = Position::after(from);
            let mut seen = Vec::new();
            loop {
                let bytes = match runtime.block_on(read(&log, position)) {
                    Read::End => break,
                    Read::Frames(bytes, behind) => { position = behind; bytes }
                    Read::Stored => {
                        let segment = stored.iter().find(|s| s.last > position.event).unwrap();
                        let bytes = segment.after(position);
                        position = segment.end();
                        bytes
                    }
                };
                seen.extend(frames(&bytes).map(|(id, _)| id));
            }
            let all: Vec<u64> = (from + 1..=sizes.len() as u64 + 1).collect();
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn a_log_over_its_limit_refuses() {
        let log = Log::new(100);
        assert!(log.push(Field::Output, &[b'1'; 60]).is_ok());
        assert_eq!(log.push(Field::Output, &[b'1'; 60]), Err(Refused::TooLarge));
        assert_eq!(log.last_event(), 1);
    }

    #[tokio::test]
    async fn many_events_wake_a_reader_once() {
        let log = Log::new(u64::MAX);
        let mut waiting = watched(read(&log, Position::START));
        assert!(waiting.poll().is_pending());
        for data in [b"1", b"2"] {
            log.push(Field::Output, data).unwrap();
        }
        assert_eq!(waiting.wakes(), 1);
        let Poll::Ready(Read::Frames(bytes, _)) = waiting.poll() else { panic!("no frames") };
        assert_eq!(frames(&bytes).count(), 2);
    }

    #[tokio::test]
    async fn an_emitter_waits_while_the_store_is_behind() {
        let (log, _) = filled(&[SEGMENT_SIZE; 4], |_| false);
        assert_eq!(log.push(Field::Output, b"1"), Err(Refused::Behind));
        let mut waiting = watched(log.room());
        assert!(waiting.poll().is_pending());
        log.mark_stored();
        assert!(waiting.poll().is_ready());
    }

    /// A future under test, with a waker that counts.
    struct Task<F> {
        future: std::pin::Pin<Box<F>>,
        wakes: std::sync::Arc<Wakes>,
    }

    struct Wakes(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn watched<F: Future>(future: F) -> Task<F> {
        Task { future: Box::pin(future), wakes: std::sync::Arc::new(Wakes(0.into())) }
    }

    impl<F: Future> Task<F> {
        fn poll(&mut self) -> Poll<F::Output> {
            let waker = Waker::from(self.wakes.clone());
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }

        fn wakes(&self) -> usize {
            self.wakes.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }
}
