//! A job's events as the body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use skep::job::FrameReader;
use skep::router::CancelOnDrop;
use skep::store::StoreError;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a stream may be silent before a comment tells proxies that it's alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const COMMENT: &[u8] = b": keep-alive\n\n";

/// What a client is sent of a job.
pub(crate) struct Events {
    reader: FrameReader,
    /// Cancels the job when the client goes away.
    _owner: Option<CancelOnDrop>,
    /// When the client was last sent something.
    spoke: Instant,
    /// There's one once the stream has had to wait. It isn't set anew for each event, but looks again
    /// when it's over.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Events {
    pub(crate) fn new(reader: FrameReader, owner: Option<CancelOnDrop>) -> Self {
        Self { reader, _owner: owner, spoke: Instant::now(), timer: None }
    }

    /// Waits until the stream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.spoke + KEEP_ALIVE;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl Stream for Events {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match Pin::new(&mut self.reader).poll_next(cx) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                Some(Ok(Bytes::from_static(COMMENT)))
            }
        };
        self.spoke = Instant::now();
        Poll::Ready(next)
    }
}
