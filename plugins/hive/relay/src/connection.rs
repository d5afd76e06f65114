//! The connections to a server. Each is driven by whoever reads what comes by it.
//!
//! With a task for each connection, as hyper's own client has it, two tasks are woken by each event: the one
//! that reads the job, and the connection's. A thread that has two tasks to go on with wakes another thread,
//! and that one a third. Driven by its reader, a connection wakes nobody.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};

use crate::address::Address;
use crate::connect::{Wire, connect};
use crate::failure::Failure;
use crate::inner_waker::InnerWaker;

/// After how long without use a connection isn't used any more.
const IDLE: Duration = Duration::from_secs(30);

/// How many unused connections are kept.
const MAX_UNUSED: usize = 32;

/// The connections to one server. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    address: Address,
    unused: Unused,
}

/// The connections that nobody uses now, each with when it was left; the last one was left last.
#[derive(Clone, Default)]
struct Unused(Arc<Mutex<Vec<(Instant, Connection)>>>);

/// A connection. Nothing happens on it unless its driver is polled.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// What reads from a connection, and writes to it.
struct Driver {
    /// `None` once it has ended: who waits for something of it learns that by its being dropped. Boxed,
    /// since it's moved from whoever asks to who reads the answer, and back.
    connection: Option<Box<http1::Connection<Wire, Full<Bytes>>>>,
    waker: InnerWaker,
}

/// The body of an answer, and the connection that it comes by: once all of it has come that's left to other
/// requests; if more is to come when this is dropped, it's closed.
pub(crate) struct Body {
    incoming: Incoming,
    connection: Option<Connection>,
    unused: Unused,
}

impl Connections {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, unused: Unused::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request. The answer's body is still to be read.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] or [`Failure::Broken`].
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Failure> {
        loop {
            let unused = self.unused.ready().await;
            let was_used = unused.is_some();
            let mut connection = match unused {
                Some(connection) => connection,
                None => Connection::open(&self.address).await?,
            };
            match connection.send(request).await {
                Ok(response) => {
                    let (connection, unused) = (Some(connection), self.unused.clone());
                    return Ok(response.map(|incoming| Body { incoming, connection, unused }));
                }
                Err(mut error) => match error.take_message() {
                    // The server has closed it just now, since it was unused.
                    Some(unsent) if was_used => request = unsent,
                    _ => return Err(Failure::Broken(cause(&error.into_error()))),
                },
            }
        }
    }
}

impl Unused {
    /// One on which a request can be sent.
    async fn ready(&self) -> Option<Connection> {
        loop {
            let (_, mut connection) = self.lock().pop()?;
            // It's not, if the server has closed it meanwhile.
            if connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    fn put(&self, connection: Connection) {
        let mut unused = self.lock();
        if unused.len() < MAX_UNUSED {
            unused.push((Instant::now(), connection));
        }
    }

    /// All that weren't left too long ago.
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        // Nothing that may panic is done under the lock.
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unused.retain(|(left, _)| left.elapsed() < IDLE);
        unused
    }
}

impl Connection {
    async fn open(address: &Address) -> Result<Self, Failure> {
        let connected = connect(address).await;
        let wire = connected.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let opened = http1::handshake(wire).await;
        let (requests, connection) = opened.map_err(|error| Failure::Unreachable(cause(&error)))?;
        let driver = Driver { connection: Some(Box::new(connection)), waker: InnerWaker::new() };
        Ok(Self { requests, driver })
    }

    /// Waits until it can take a request; it can't any more if it's closed.
    async fn is_ready(&mut self) -> bool {
        self.driver.run(self.requests.ready()).await.is_ok()
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.driver.run(self.requests.try_send_request(request)).await
    }
}

impl Driver {
    /// Drives the connection until `future` is ready, which waits for something of it.
    async fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| self.poll(cx, |cx| future.as_mut().poll(cx))).await
    }

    /// Drives the connection, then polls what waits for something of it.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { connection, waker } = self;
        waker.poll(cx, |cx| {
            // An error of it is told to whoever waits.
            if connection.as_mut().is_some_and(|driven| driven.poll_unpin(cx).is_ready()) {
                *connection = None;
            }
            poll(cx)
        })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, connection, unused } = self.get_mut();
        let Some(Connection { driver, .. }) = connection else { return Poll::Ready(None) };
        let frame = ready!(driver.poll(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)));
        if frame.is_none()
            && let Some(connection) = connection.take()
            // It's not, if it has ended, or the answer has come before all of the request was sent.
            && connection.requests.is_ready()
        {
            unused.put(connection);
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Often all that is left is the end, which has come together with what was read.
        let _ = self.frame().now_or_never();
    }
}

/// The last cause of an error has the reason, those before it say where it was noticed.
fn cause(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// A server that answers requests, each with its connection's number and `rest`, until it's told to close the
    /// connection.
    async fn server(rest: &'static str) -> (Connections, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let close = Arc::new(Notify::new());
        let closes = close.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::select! {
                    () = answer(&mut stream, number, rest) => {}
                    () = closes.notified() => {}
                }
            }
        });
        (Connections::new(Address::Tcp(address.ip().to_string(), address.port())), close)
    }

    async fn answer(stream: &mut TcpStream, number: usize, rest: &str) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";
            let answer = format!("{head}\r\n\r\n1\r\n{number}\r\n{rest}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    async fn ask(connections: &Connections) -> Response<Body> {
        let request = Request::builder().uri("/").header("host", "localhost");
        let answered = connections.send(request.body(Full::default()).unwrap());
        timeout(Duration::from_secs(10), answered).await.expect("it answers").unwrap()
    }

    /// By which connection an answer comes. Its end isn't read.
    async fn number(connections: &Connections) -> Bytes {
        let mut body = ask(connections).await.into_body();
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    const END: &str = "0\r\n\r\n";

    #[tokio::test]
    async fn a_connection_by_which_all_has_come_is_used_again() {
        let (connections, _) = server(END).await;
        for _ in 0..3 {
            assert_eq!(number(&connections).await, "0");
            let body = ask(&connections).await.into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "0");
        }
    }

    #[tokio::test]
    async fn one_by_which_more_is_to_come_is_closed() {
        for rest in ["", "1\r\nx\r\n0\r\n\r\n"] {
            let (connections, _) = server(rest).await;
            assert_eq!(number(&connections).await, "0");
            assert_eq!(number(&connections).await, "1");
        }
    }

    #[tokio::test]
    async fn one_that_the_server_has_closed_is_replaced() {
        let (connections, close) = server(END).await;
        for expected in ["0", "1", "2"] {
            assert_eq!(number(&connections).await, expected);
            close.notify_one();
            // The server's task closes it, and the runtime, which has nothing else to do, looks for what has come.
            for _ in 0..10 {
                yield_now().await;
            }
        }
    }
}
