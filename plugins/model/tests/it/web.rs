//! A web server that does to a download what a test has it do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The server. It ends when it's dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Ask>>>,
    _task: JoinSet<()>,
}

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// Where the range that's asked for begins.
    pub(crate) range: Option<usize>,
    pub(crate) if_range: Option<String>,
    pub(crate) authorization: Option<String>,
}

/// What is sent for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) then: Then,
}

/// What comes behind an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Then {
    /// The connection is closed.
    #[default]
    Ends,
    /// Nothing more, and the connection stays open.
    Stalls,
    /// A byte now and then.
    Drips,
}

impl Web {
    /// Answers the `number`th request, from 0, by what `answer` says.
    pub(crate) async fn start(
        answer: impl Fn(usize, &Ask) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::<Mutex<Vec<Ask>>>::default(), Arc::new(answer));
        let mut task = JoinSet::new();
        let log = asked.clone();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                connections.spawn(async move {
                    // Who breaks off is the client, when it has what it wants.
                    let _ = serve(connection, &*answer, &log).await;
                });
            }
        });
        Self { address, asked, _task: task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().unwrap().clone()
    }
}

impl Answer {
    /// `status`, with these header lines and this body; the length is said as it is.
    pub(crate) fn new(status: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            head += &format!("{header}\r\n");
        }
        Self { head, body: body.to_owned(), then: Then::Ends }
    }

    /// As a server of files does: all, or what is asked for of it.
    pub(crate) fn file(content: &[u8], etag: &str, ask: &Ask) -> Self {
        let tag = format!("ETag: {etag}");
        let is_same = ask.if_range.as_ref().is_none_or(|asked| asked == etag);
        match ask.range.filter(|_| is_same) {
            None => Self::new("200 OK", &[&tag], content),
            Some(from) if from >= content.len() => {
                let range = format!("Content-Range: bytes */{}", content.len());
                let page = b"<h1>Requested Range Not Satisfiable</h1>";
                Self::new("416 Range Not Satisfiable", &[&range], page)
            }
            Some(from) => {
                let (last, total) = (content.len() - 1, content.len());
                let range = format!("Content-Range: bytes {from}-{last}/{total}");
                Self::new("206 Partial Content", &[&tag, &range], &content[from..])
            }
        }
    }

    /// Breaks off behind `bytes` of the body.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }
}

async fn serve(
    mut connection: TcpStream,
    answer: &(dyn Fn(usize, &Ask) -> Answer + Send + Sync),
    log: &Mutex<Vec<Ask>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let range = header("range").map(|range| range["bytes=".len()..].trim_end_matches('-').parse());
    let ask = Ask {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        range: range.transpose().unwrap(),
        if_range: header("if-range"),
        authorization: header("authorization"),
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(ask.clone());
        log.len() - 1
    };
    let Answer { head, body, then } = answer(number, &ask);
    connection.write_all(format!("{head}\r\n").as_bytes()).await?;
    connection.write_all(&body).await?;
    match then {
        Then::Ends => Ok(()),
        Then::Stalls => std::future::pending().await,
        Then::Drips => loop {
            connection.write_all(b" ").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
    }
}
