//! A model on its way while its server is killed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stock::model;
use crate::support::Server;

/// How much is sent at once.
const PIECE: usize = 16 * 1024;

/// How far what is sent may be ahead of what the server has on its disk, which has whole blocks of 64
/// KiB: what is in the sockets is lost with it, on a machine of any speed.
const AHEAD: u64 = 64 * 1024;

/// How often the disk is looked at.
const GLANCE: Duration = Duration::from_micros(500);

const KILLS: usize = 10;

/// A server of one file.
struct Web {
    address: SocketAddr,
    /// The furthest byte that was sent.
    reached: watch::Receiver<usize>,
    /// How much was sent, what was sent again included.
    sent: Arc<AtomicUsize>,
    /// Where what has come is on the server's disk.
    part: Arc<OnceLock<PathBuf>>,
    _task: JoinSet<()>,
}

impl Web {
    async fn start(file: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, reached) = watch::channel(0);
        let part = Arc::<OnceLock<PathBuf>>::default();
        let sent = Arc::<AtomicUsize>::default();
        let sending =
            Arc::new(Sending { file, reached: tell, sent: sent.clone(), part: part.clone() });
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let sending = sending.clone();
                connections.spawn(async move {
                    // The client is killed again and again.
                    let _ = sending.serve(connection).await;
                });
            }
        });
        Self { address, reached, sent, part, _task: task }
    }
}

/// What its connections share.
struct Sending {
    file: Vec<u8>,
    reached: watch::Sender<usize>,
    sent: Arc<AtomicUsize>,
    part: Arc<OnceLock<PathBuf>>,
}

impl Sending {
    async fn serve(&self, mut connection: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let from = head.split_once("range: bytes=").and_then(|(_, rest)| rest.split_once('-'));
        let from: usize = from.map_or(0, |(from, _)| from.parse().expect("a number"));
        let total = self.file.len();
        let (status, last) = (if from == 0 { "200 OK" } else { "206 Partial Content" }, total - 1);
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\n\
             Content-Range: bytes {from}-{last}/{total}\r\n\r\n",
            total - from,
        );
        connection.write_all(head.as_bytes()).await?;
        let mut at = from;
        for piece in self.file[from..].chunks(PIECE) {
            connection.write_all(piece).await?;
            at += piece.len();
            self.sent.fetch_add(piece.len(), Ordering::Relaxed);
            self.reached.send_modify(|reached| *reached = at.max(*reached));
            while at < total && self.kept() + AHEAD < at as u64 {
                sleep(GLANCE).await;
            }
        }
        Ok(())
    }

    /// How much the server has on its disk.
    fn kept(&self) -> u64 {
        let part = self.part.get().and_then(|part| part.metadata().ok());
        part.map_or(0, |part| part.len())
    }
}

#[tokio::test]
async fn a_download_whose_server_is_killed_ten_times_fetches_next_to_nothing_twice() {
    let file = std::fs::read(model()).unwrap();
    let mut web = Web::start(file.clone()).await;
    let config = format!(
        "[jobs]\nmax_attempts = 20\n[plugins.model]\nallowed_hosts = [\"{}\"]\n",
        web.address
    );
    let mut server = Server::stock_with(&config);
    web.part.set(server.data().join("model/downloads/smollm2/part")).expect("it's set once");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills: Vec<usize> = (0..KILLS).map(|_| random.usize(1..file.len())).collect();
    kills.sort_unstable();

    let url = format!("http://{}/smollm2.gguf", web.address);
    let id = server.job("model_download", json!({ "model": url })).await;
    for at in kills {
        web.reached.wait_for(|reached| *reached >= at).await.unwrap();
        server.child.kill().unwrap();
        server.restart();
    }
    let job = server.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let kept = server.data().join("model/models/smollm2/model.gguf");
    assert!(std::fs::read(kept).unwrap() == file, "it's another file");
    let twice = web.sent.load(Ordering::Relaxed) - file.len();
    println!("{twice} of {} bytes were sent twice", file.len());
    assert!(twice <= file.len() / 100, "{twice} of {} bytes were sent twice", file.len());
}
