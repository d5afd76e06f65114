//! A handler's run: on which thread, under which watch, and what becomes of a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span, error, warn};

use crate::error::OperationError;
use crate::job::stint;
use crate::registry::Operation;

/// A handler that doesn't come back to the runtime for this long blocks its thread.
const LONG_POLL: Duration = Duration::from_millis(200);

/// How long an aborted handler may take to be dropped before it's taken to block its thread.
pub(super) const ABORT_GRACE: Duration = Duration::from_millis(250);

/// What became of a handler.
pub(crate) enum Handled {
    Returned(Result<Value, OperationError>),
    /// With the panic's message.
    Panicked(String),
    Aborted,
    /// It had no thread, or panicked while it was dropped.
    Lost,
}

/// A handler's run of an operation, which hasn't ended.
pub(crate) struct Work(Instrumented<Timed>);

impl Work {
    /// What `work`, a run of `operation`, logs is logged in `span`.
    pub(crate) fn new(
        operation: &Arc<Operation>,
        span: Span,
        work: impl Future<Output = Result<Value, OperationError>> + Send + 'static,
    ) -> Self {
        let timed = Timed { work: Box::pin(work), operation: operation.clone() };
        Self(timed.instrument(span))
    }

    /// What it's a run of.
    pub(super) fn operation(&self) -> &Arc<Operation> {
        &self.0.inner().operation
    }

    /// Polls it once, on this thread. If it's not done by that it's given back, to be
    /// [started](Self::start): nobody is told when it wants to be polled again.
    pub(crate) fn poll_once(self) -> Result<Handled, Self> {
        let Self(mut future) = self;
        let mut cx = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| future.poll_unpin(&mut cx))) {
            Ok(Poll::Pending) => Err(Self(future)),
            Ok(Poll::Ready(result)) => Ok(dropped(future, Handled::Returned(result))),
            Err(panic) => Ok(dropped(future, Handled::Panicked(message(panic)))),
        }
    }

    /// Has it run in a task of its own.
    ///
    /// Only an operation that has proved to come back to the runtime promptly runs on the runtime's
    /// threads. They are as few as the machine has cores: a few jobs that block them would stop
    /// every other job.
    pub(crate) fn start(self) -> Running {
        let operation = self.operation().clone();
        let (abort, registration) = AbortHandle::new_pair();
        let (tell, done) = oneshot::channel();
        let task = async move {
            // The handler is dropped before its end is told: its guards have run by then.
            let handled =
                AssertUnwindSafe(Abortable::new(self.0, registration)).catch_unwind().await;
            let handled = match handled {
                Ok(Ok(result)) => Handled::Returned(result),
                Ok(Err(Aborted)) => Handled::Aborted,
                Err(panic) => Handled::Panicked(message(panic)),
            };
            // A job that left its handler behind doesn't listen any more.
            let _ = tell.send(handled);
        };
        let runtime = Handle::current();
        if operation.is_prompt() || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            runtime.spawn(task);
        } else {
            // Not one of the runtime's threads for blocking work either: handlers that wait for
            // `JobContext::blocking` on all of those would wait for ever.
            let thread = thread::Builder::new().name("skep-handler".to_owned());
            if let Err(error) = thread.spawn(move || runtime.block_on(task)) {
                error!(operation = %operation.name, "no thread for an operation: {error}");
            }
        }
        Running { abort, done }
    }
}

/// What became of a handler whose future is dropped now: that's the author's code too.
fn dropped(future: Instrumented<Timed>, handled: Handled) -> Handled {
    match catch_unwind(AssertUnwindSafe(|| drop(future))) {
        Ok(()) => handled,
        Err(_) => Handled::Lost,
    }
}

/// A handler that runs in a task of its own.
pub(crate) struct Running {
    abort: AbortHandle,
    done: oneshot::Receiver<Handled>,
}

impl Running {
    /// Waits until the handler has returned, in one way or another. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Handled {
        (&mut self.done).await.unwrap_or(Handled::Lost)
    }

    /// Drops the handler when it next comes back to the runtime.
    pub(crate) fn abort(&self) {
        self.abort.abort();
    }
}

/// What a panic said.
pub(super) fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("no message").to_owned(),
    }
}

/// A handler's future under a stop-watch, which tells whether the operation keeps its thread.
struct Timed {
    work: BoxFuture<'static, Result<Value, OperationError>>,
    operation: Arc<Operation>,
}

impl Future for Timed {
    type Output = Result<Value, OperationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = Instant::now();
        let polled = stint::run(begun, || self.work.as_mut().poll(cx));
        let took = begun.elapsed();
        if took > LONG_POLL && self.operation.mark_blocking() {
            warn!(
                operation = %self.operation.name, ?took,
                "an operation blocked its thread; it runs on one of its own from now on (long work \
                 belongs into `JobContext::blocking`)"
            );
        }
        if polled.is_ready() {
            self.operation.mark_prompt();
        }
        polled
    }
}
