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
    /// Since when there has been nothing to send; `None` while there is.
    silent: Option<Instant>,
    /// There's one once the stream has had to wait. It isn't set anew for each event, but looks again
    /// when it's over.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Events {
    pub(crate) fn new(reader: FrameReader, owner: Option<CancelOnDrop>) -> Self {
        Self { reader, _owner: owner, silent: None, timer: None }
    }

    /// Waits until the stream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Not since something was sent: a client that takes its time isn't waiting for anything.
        let due = *self.silent.get_or_insert_with(Instant::now) + KEEP_ALIVE;
        loop {
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
        self.silent = None;
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use serde_json::json;
    use skep::plugin::Linked;
    use skep::store::MemoryStore;
    use skep::{Config, JobContext, JobRequest, Router};
    use tokio::time::sleep;

    use super::*;

    /// Emit two events, with a long pause between them.
    #[skep::operation]
    async fn emit_slowly(job: &JobContext) -> skep::Result<()> {
        job.emit(&1).await?;
        sleep(Duration::from_secs(40)).await;
        job.emit(&2).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_says_so_and_a_slow_client_is_told_nothing() {
        let store = Arc::new(MemoryStore::new(1 << 20));
        let router = Router::start(Config::default(), Linked::all(), store).await.unwrap();
        let request = JobRequest::new("emit_slowly", json!({}));
        let job = router.create_job(request).await.unwrap();
        let reader = router.execute_job(job.id, 0).await.unwrap().into_frames();
        let mut events = Events::new(reader, None);
        let mut text = String::new();
        while !text.contains("id: 2") {
            text += std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap();
        }
        assert!(!text.contains(": keep-alive"));
        sleep(Duration::from_secs(20)).await;
        let asked = Instant::now();
        assert_eq!(events.next().await.unwrap().unwrap(), COMMENT);
        assert_eq!(asked.elapsed(), KEEP_ALIVE);
        let next = events.next().await.unwrap().unwrap();
        assert!(next.starts_with(b"id: 3\n"), "{next:?}");
    }
}
