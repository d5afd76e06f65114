//! Reading a job's log, from anywhere, while it grows or long after.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::job::JobId;
use crate::job::event::{Event, frames};
use crate::job::log::{Log, Read};
use crate::store::{Position, Segment, Store, StoreError};

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
    /// What the store has been asked for and hasn't given yet.
    asked: Option<BoxFuture<'static, Result<Option<Segment>, StoreError>>>,
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
        Self { id, source, store, position, reader, asked: None }
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
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }

    /// The next segment, if it can only be had from the store.
    fn poll_store(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Segment>, StoreError>> {
        let (id, position) = (self.id, self.position);
        let asked = self.asked.get_or_insert_with(|| {
            let store = self.store.clone();
            Box::pin(async move { store.read(id, position).await })
        });
        let answer = ready!(asked.as_mut().poll(cx));
        self.asked = None;
        Poll::Ready(answer)
    }
}

/// As by [`next`](FrameReader::next). It doesn't end after an error: the store may be asked again.
impl Stream for FrameReader {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &self.source {
                _ if self.asked.is_some() => {}
                Source::Live(log) => match ready!(log.poll_read(cx, self.reader, self.position)) {
                    Read::Frames(bytes, position) => {
                        self.position = position;
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Read::End => return Poll::Ready(None),
                    Read::Stored => {}
                },
                Source::Ended(last) if self.position.event >= *last => return Poll::Ready(None),
                Source::Ended(_) | Source::Elsewhere => {}
            }
            let segment = match (ready!(self.poll_store(cx)), &self.source) {
                (Ok(Some(segment)), _) => segment,
                (Ok(None), Source::Elsewhere) => return Poll::Ready(None),
                (Ok(None), _) => return Poll::Ready(Some(Err(StoreError::Forgotten(self.id)))),
                (Err(error), _) => return Poll::Ready(Some(Err(error))),
            };
            let bytes = segment.after(self.position);
            self.position = segment.end();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
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
    /// `None` behind the end.
    reader: Option<FrameReader>,
    /// What was read and not yet taken.
    ready: VecDeque<Result<Event, StoreError>>,
}

impl EventStream {
    pub(crate) fn new(reader: FrameReader) -> Self {
        Self { reader: Some(reader), ready: VecDeque::new() }
    }

    /// The same from the first event on that was not taken, as frames.
    ///
    /// # Panics
    /// If events have been taken already.
    pub fn into_frames(self) -> FrameReader {
        match self.reader {
            Some(reader) if self.ready.is_empty() => reader,
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
                    self.reader = None;
                    self.ready.clear();
                }
                return Poll::Ready(Some(event));
            }
            let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
            match ready!(Pin::new(reader).poll_next(cx)) {
                Some(Ok(bytes)) => {
                    self.ready.extend(frames(&bytes).map(|(id, frame)| {
                        Event::parse(id, frame).ok_or(StoreError::Unreadable(id))
                    }));
                }
                Some(Err(error)) => self.ready.push_back(Err(error)),
                None => self.reader = None,
            }
        }
    }
}
