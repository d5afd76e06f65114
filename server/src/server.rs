//! The listener, its connections, and their graceful end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::config::ServerConfig;
use crate::http::Http;

/// How long open connections get to send what they have when everything else has ended.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long accepting pauses when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often an idle HTTP/2 connection is asked whether it's still there.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// Serves `http` on `listener` until `stopped` returns, then lets the connections finish.
pub(crate) async fn serve(
    listener: TcpListener,
    http: Arc<Http>,
    config: &ServerConfig,
    stopped: impl Future<Output = ()>,
) {
    let builder = builder(config);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(config.max_connections));
    let accept = async {
        loop {
            // A connection past the limit waits in the system's queue.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = accept(&listener).await;
            let http = http.clone();
            let service = service_fn(move |request| {
                let http = http.clone();
                async move { Ok::<_, Infallible>(http.answer(request).await) }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = connection.await {
                    debug!("a connection ended early: {error}");
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stopped => {}
    }
    drop(listener);
    if timeout(CLOSE_PATIENCE, graceful.shutdown()).await.is_err() {
        warn!("closing connections that were not done after {CLOSE_PATIENCE:?}");
    }
}

fn builder(config: &ServerConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(*config.request_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024);
    builder
}

/// The next connection. An error is of that connection, or a shortage that passes.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small frames leave at once instead of waiting for the peer's acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!("TCP_NODELAY: {error}");
                }
                return stream;
            }
            Err(error) if is_of_connection(&error) => debug!("accept: {error}"),
            Err(error) => {
                warn!("can't accept connections: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
