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
    /// The live part, if the job ran when the reader came.
    log: Option<Arc<Log>>,
    store: Arc<dyn Store>,
    position: Position,
    reader: usize,
}

impl FrameReader {
    pub(crate) fn new(
        id: JobId,
        log: Option<Arc<Log>>,
        store: Arc<dyn Store>,
        position: Position,
    ) -> Self {
        let reader = NEXT_READER.fetch_add(1, Ordering::Relaxed);
        Self { id, log, store, position, reader }
    }

    /// The next frames, as many as are ready and stand in one piece; waits if there are none yet.
    /// `None` behind the end.
    ///
    /// Cancel-safe: nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// What the store says when it can't give an older part.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(log) = &self.log {
                match poll_fn(|cx| log.poll_read(cx, self.reader, self.position)).await {
                    Read::Frames(bytes, position) => {
                        self.position = position;
                        return Ok(Some(bytes));
                    }
                    Read::End => return Ok(None),
                    Read::Stored => {}
                }
            }
            let Some(segment) = self.store.read(self.id, self.position).await? else {
                return Ok(None);
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
        if let Some(log) = &self.log {
            log.forget(self.reader);
        }
    }
}

/// A job's events as a [`Stream`], from [`Router::execute_job`](crate::Router::execute_job).
///
/// It ends after the `end` event. Dropping it doesn't touch the job.
pub struct EventStream {
    state: State,
    /// Events that were read and not yet taken.
    ready: VecDeque<Event>,
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
                return Poll::Ready(Some(Ok(event)));
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
                        self.ready.extend(
                            frames(&bytes).filter_map(|(id, frame)| Event::parse(id, frame)),
                        );
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
