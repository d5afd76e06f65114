//! Reading a job's log, from anywhere, while it grows or long after.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::job::JobId;
use crate::job::event::{Event, frames};
use crate::job::log::{Log, Read};
use crate::store::{Position, Store, StoreError};

/// Tells one reader of a log from another.
static NEXT_READER: AtomicUsize = AtomicUsize::new(0);

/// Reads a job's log as frames: Server-Sent Events, ready to be sent.
///
/// Any number of readers of one job go at their own pace; one that stands still costs nothing but
/// itself.
pub struct FrameReader {
    id: JobId,
    source: Source,
    store: Arc<dyn Store>,
    position: Position,
    reader: usize,
}

/// Where the end of the log is.
pub(crate) enum Source {
    /// The job ran when the reader came: this is its log's live part.
    Live(Arc<Log>),
    /// The job had ended: all is in the store, up to the event of this id.
    Ended(u64),
    /// The job waits for a server that has its operation: what's in the store so far is all.
    Elsewhere,
}

impl FrameReader {
    pub(crate) fn new(
        id: JobId,
        source: Source,
        store: Arc<dyn Store>,
        position: Position,
    ) -> Self {
        let reader = NEXT_READER.fetch_add(1, Ordering::Relaxed);
        Self { id, source, store, position, reader }
    }

    /// The next frames, as many as are ready and stand in one piece; waits if there are none yet.
    /// `None` behind the end.
    ///
    /// Cancel-safe: nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// What the store says when it can't give an older part; [`StoreError::Forgotten`] if it has it
    /// no longer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            match &self.source {
                Source::Live(log) => {
                    match poll_fn(|cx| log.poll_read(cx, self.reader, self.position)).await {
                        Read::Frames(bytes, position) => {
                            self.position = position;
                            return Ok(Some(bytes));
                        }
                        Read::End => return Ok(None),
                        Read::Stored => {}
                    }
                }
                Source::Ended(last) if self.position.event >= *last => return Ok(None),
                Source::Ended(_) | Source::Elsewhere => {}
            }
            let segment = match (self.store.read(self.id, self.position).await?, &self.source) {
                (Some(segment), _) => segment,
                (None, Source::Elsewhere) => return Ok(None),
                (None, _) => return Err(StoreError::Forgotten(self.id)),
            };
            let bytes = segment.after(self.position);
            self.position = segment.end();
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        if let Source::Live(log) = &self.source {
            log.forget(self.reader);
        }
    }
}

/// A job's events as a [`Stream`], from [`Router::execute_job`](crate::Router::execute_job).
///
/// It ends after the `end` event, or after an error. Dropping it doesn't touch the job.
pub struct EventStream {
    state: State,
    /// What was read and not yet taken.
    ready: VecDeque<Result<Event, StoreError>>,
}

enum State {
    Idle(FrameReader),
    Reading(BoxFuture<'static, (FrameReader, Result<Option<Bytes>, StoreError>)>),
    Done,
}

impl EventStream {
    pub(crate) fn new(reader: FrameReader) -> Self {
        Self { state: State::Idle(reader), ready: VecDeque::new() }
    }

    /// The same from the first event on that was not taken, as frames.
    ///
    /// # Panics
    /// If events have been taken already.
    pub fn into_frames(self) -> FrameReader {
        match self.state {
            State::Idle(reader) if self.ready.is_empty() => reader,
            _ => panic!("an event stream is turned into frames before its first event is taken"),
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.is_err() {
                    self.state = State::Done;
                    self.ready.clear();
                }
                return Poll::Ready(Some(event));
            }
            match std::mem::replace(&mut self.state, State::Done) {
                State::Idle(mut reader) => {
                    self.state = State::Reading(Box::pin(async move {
                        let frames = reader.next().await;
                        (reader, frames)
                    }));
                }
                State::Reading(mut reading) => match reading.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready((reader, Ok(Some(bytes)))) => {
                        self.ready.extend(frames(&bytes).map(|(id, frame)| {
                            Event::parse(id, frame).ok_or(StoreError::Unreadable(id))
                        }));
                        self.state = State::Idle(reader);
                    }
                    Poll::Ready((_, Ok(None))) => return Poll::Ready(None),
                    Poll::Ready((_, Err(error))) => return Poll::Ready(Some(Err(error))),
                },
                State::Done => return Poll::Ready(None),
            }
        }
    }
}
