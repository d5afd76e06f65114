use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::task::Poll;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::*;

const MIB: usize = 1 << 20;

const KEEP_FREE: u64 = 1000;

/// A transfer of `http://ADDRESS/a.gguf`, on a disk of its own.
fn transfer(directory: &Path, address: SocketAddr) -> Transfer {
    let endpoint = Url::parse("http://hub").unwrap();
    let (allowed, hub) = (Allowed::new(vec![address.to_string()]), Hub { endpoint, token: None });
    let patience = Duration::from_secs(10);
    Transfer {
        request: request(address),
        directory: directory.join("downloads/a"),
        catalog: Catalog::open(directory.join("models")).unwrap(),
        web: Arc::new(Web::new(allowed, hub, patience).unwrap()),
        limits: Limits { max_size: 1 << 40, keep_free: KEEP_FREE, patience, retries: 0 },
        free_space: used_up,
        status: watch::channel(Status::default()).0,
    }
}

fn request(address: SocketAddr) -> Request {
    let Ok(Source::Remote(source)) = Source::parse(&format!("http://{address}/a.gguf")) else {
        unreachable!("it names a file of a server")
    };
    Request { id: ModelId::parse("a").unwrap(), source, sha256: None }
}

/// The disk of a download that others fill meanwhile.
fn used_up(directory: &Path) -> io::Result<u64> {
    let has_begun = fs::metadata(directory.join("part"))?.len() > 0;
    Ok(if has_begun { KEEP_FREE - 1 } else { u64::MAX })
}

/// A server that sends this file with these header lines, once.
async fn serve_once(headers: &str, file: &[u8]) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"1\"\r\n{headers}\r\n");
    let answer = [head.as_bytes(), file].concat();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(connection.read_u8().await.unwrap());
        }
        // Who breaks off is the client.
        let _ = connection.write_all(&answer).await;
    });
    (address, server)
}

/// Polls a transfer until it's over, or has been polled so often since all had come; then drops it.
async fn drop_after(polls: usize, transfer: Transfer, size: u64) {
    let status = transfer.status.subscribe();
    let mut run = Box::pin(transfer.run());
    let mut polled = 0;
    poll_fn(|context| {
        let is_over = run.as_mut().poll(context).is_ready();
        polled += usize::from(status.borrow().done == size);
        if is_over || polled >= polls { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Downloads 40 MiB that are sent with these header lines, to where there's no room for them; returns
/// why it ended, and how much is kept.
async fn download_to_a_full_disk(headers: &str) -> (Problem, u64) {
    let body = [b"GGUF".as_slice(), &vec![0; 40 * MIB - 4]].concat();
    let (address, _server) = serve_once(headers, &body).await;
    let directory = TempDir::new().unwrap();
    let ended = transfer(directory.path(), address).run().await;
    let part = fs::metadata(directory.path().join("downloads/a/part")).unwrap();
    (ended.unwrap_err().into_problem(), part.len())
}

#[tokio::test]
async fn a_download_ends_when_the_disk_has_no_more_room_for_the_rest_and_is_kept() {
    let length = format!("Content-Length: {}\r\n", 40 * MIB);
    let (problem, kept) = download_to_a_full_disk(&length).await;
    assert_eq!(problem.code, "disk-full", "{problem}");
    assert!((15 * MIB as u64..20 * MIB as u64).contains(&kept), "{kept}");
    let needed = problem.extensions["needed"].as_u64().unwrap();
    assert!(needed > KEEP_FREE + 20 * MIB as u64, "the rest too: {needed}");
}

#[tokio::test]
async fn a_download_of_unknown_size_ends_when_the_disk_is_full_and_is_dropped() {
    let (problem, kept) = download_to_a_full_disk("").await;
    assert_eq!(problem.code, "disk-full", "{problem}");
    assert_eq!(problem.extensions["needed"], KEEP_FREE);
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_model_that_is_published_before_the_part_is_free_is_not_fetched_again() {
    let directory = TempDir::new().unwrap();
    // Nobody listens there.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let transfer = transfer(directory.path(), address);
    let Request { id, source, .. } = request(address);
    let model = json!({
        "id": id.to_string(), "file": "a.gguf", "source": source.to_string(), "bytes": 5,
        "sha256": "", "architecture": "llama", "parameters": 0,
        "imported_at": "2026-01-01T00:00:00Z",
    });
    let staged = transfer.catalog.stage().unwrap();
    fs::write(staged.file(), "model").unwrap();
    let model: Model = serde_json::from_value(model).unwrap();
    transfer.catalog.keep(staged, &id, model).unwrap();
    let downloads = transfer.directory.clone();
    assert_eq!(transfer.run().await.unwrap().file, "a.gguf");
    assert!(!downloads.exists());
}

/// A model of 32 weights.
fn small_model() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let count = |count: u64| count.to_le_bytes();
    let mut file = [b"GGUF\x03\0\0\0".as_slice(), &count(1), &count(1)].concat();
    file.extend([text("general.architecture"), vec![8, 0, 0, 0], text("llama")].concat());
    // Of one byte each, from the first one on.
    file.extend(
        [text("weights"), vec![1, 0, 0, 0], count(32).to_vec(), vec![24, 0, 0, 0]].concat(),
    );
    file.extend(count(0));
    file.resize(file.len().next_multiple_of(32) + 32, 1);
    file
}

#[tokio::test]
async fn a_model_is_whole_after_the_next_download_whenever_its_own_was_dropped() {
    let mut published = 0;
    for polls in 1..=8 {
        let file = small_model();
        let size = file.len();
        let (address, _server) = serve_once(&format!("Content-Length: {size}\r\n"), &file).await;
        let directory = TempDir::new().unwrap();
        let begin = || Transfer { free_space, ..transfer(directory.path(), address) };
        drop_after(polls, begin(), size as u64).await;
        // The server is gone: this finds what there is.
        let found = begin().run().await;
        let model = fs::read(directory.path().join("models/a/model.gguf")).ok();
        assert_eq!(model.is_some(), found.is_ok(), "after {polls}: {found:?}");
        if let Some(model) = model {
            assert!(model == file, "after {polls} it has {} of {size} bytes", model.len());
            published += 1;
        }
    }
    assert!(published > 0, "it was always dropped too early");
}
