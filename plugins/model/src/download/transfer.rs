//! From a source to a model: asks for what is missing until all of it is there.

use std::fs;
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use skep::prelude::*;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::catalog::{Catalog, Model};
use crate::digest::mismatch;
use crate::download::Request;
use crate::download::failure::Failure;
use crate::download::part::{Origin, Part};
use crate::download::reply::Reply;
use crate::download::source::Remote;
use crate::download::web::{Range, Web};
use crate::gguf::{self, GgufError, MAGIC};

/// The pause before a first repetition; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The pause after a connection that brought something.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, also if a server asks for more: then the download fails, and says for how long.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The least that a server is to send, bytes a second: one that sends less holds its jobs for ever.
const SLOWEST: f64 = 1024.0;

/// How much may come before it's looked again whether the disk has room for the rest, bytes: others
/// write to it too, and not every server tells how much comes.
const LOOK_EVERY: u64 = 16 << 20;

/// What a download may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest file, bytes.
    pub(crate) max_size: u64,
    /// How much of the disk stays free, bytes.
    pub(crate) keep_free: u64,
    /// How long a server may say nothing.
    pub(crate) patience: Duration,
    /// How often in a row a request may bring nothing, and how often it may begin anew.
    pub(crate) retries: u32,
}

/// How far a transfer is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    /// What went wrong last, and how often something did.
    pub(crate) trouble: Option<(u32, String)>,
}

/// A file on its way.
pub(crate) struct Transfer {
    pub(crate) request: Request,
    /// Where its part is.
    pub(crate) directory: PathBuf,
    pub(crate) catalog: Catalog,
    pub(crate) web: Arc<Web>,
    pub(crate) limits: Limits,
    /// How much of a directory's disk may still be used, bytes.
    pub(crate) free_space: fn(&Path) -> io::Result<u64>,
    pub(crate) status: watch::Sender<Status>,
}

impl Transfer {
    /// Downloads the model. If it's dropped, what has come stays for the next one.
    pub(crate) async fn run(self) -> Result<Model> {
        let mut part =
            OnDisk::open(self.directory.clone(), self.request.source.to_string()).await?;
        if let Some(kept) = self.find(&mut part).await? {
            return Ok(kept);
        }
        let mut in_vain = 0;
        loop {
            let (begun, before) = (Instant::now(), part.len());
            let (why, asked_for) = match self.attempt(&mut part).await {
                Ok(model) => return Ok(model),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { why, retry_after }) => (why, retry_after),
                Err(Failure::Restart(why)) => {
                    part.clear().await?;
                    (why, None)
                }
            };
            let brought = part.len().saturating_sub(before);
            in_vain = if is_worth_it(brought, begun.elapsed()) { 0 } else { in_vain + 1 };
            let pause = match in_vain {
                0 => SHORT_PAUSE,
                times => FIRST_PAUSE.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_PAUSE),
            };
            let pause = pause.max(asked_for.unwrap_or_default());
            let is_given_up = in_vain.max(part.restarts) > self.limits.retries;
            if is_given_up || pause > LONGEST_PAUSE {
                let error = OperationError::new("download-failed", self.given_up(&why, &part));
                return Err(error.with_status(502).with_retry_after(pause));
            }
            self.status.send_modify(|status| {
                let times = status.trouble.as_ref().map_or(0, |(times, _)| *times);
                let pause = pause.as_secs_f64();
                status.trouble = Some((times + 1, format!("{why}; asking again in {pause} s")));
            });
            sleep(pause).await;
        }
    }

    /// The model, if another transfer, dropped while it published, has made it before it let go of the
    /// part.
    async fn find(&self, part: &mut OnDisk) -> Result<Option<Model>> {
        let (catalog, request) = (self.catalog.clone(), self.request.clone());
        let find = move |part: &mut Part| {
            let found = request.find(&catalog);
            if let Ok(Some(_)) = found {
                part.remove()?;
            }
            Ok(found)
        };
        part.with(find).await?
    }

    fn given_up(&self, why: &str, part: &OnDisk) -> String {
        let kept = match part.len() {
            0 => String::new(),
            kept => format!("; the {kept} bytes that have come are kept for the next try"),
        };
        format!("{} can't be downloaded: {why}{kept}", self.request.source)
    }

    /// Asks for what is missing, once.
    async fn attempt(&self, part: &mut OnDisk) -> Result<Model, Failure> {
        let origin = part.get().origin().clone();
        // What can't be told from another file's rest is proved by its digest, or not asked for.
        let can_resume = origin.validator.is_some() || self.request.sha256.is_some();
        let range = (part.len() > 0 && can_resume)
            .then(|| Range { from: part.len(), validator: origin.validator.clone() });
        self.tell(part.len(), origin.total);
        let answer = self.web.get(&self.request.source, range.as_ref()).await?;
        let reply = Reply::read(&answer, range.as_ref(), &origin)?;
        self.check_size(reply.total)?;
        let expected = self.expected(answer.sha256)?;
        if reply.from == 0 {
            part.clear().await?;
        }
        self.check_space(part, reply.total).await?;
        let known = Origin {
            validator: reply.validator.or(origin.validator.filter(|_| reply.from > 0)),
            total: reply.total,
            ..origin
        };
        part.with(move |part| part.set_origin(known)).await?;
        // If nothing is missing, the body is what the server has to say of that.
        if reply.total != Some(reply.from) {
            self.receive(part, answer.response.into_body(), reply.total, &answer.host).await?;
        }
        self.finish(part, expected.as_deref(), reply.from > 0).await
    }

    /// The digest that the file must have, by the client and by the hub.
    fn expected(&self, told: Option<String>) -> Result<Option<String>> {
        match (&self.request.sha256, told) {
            (Some(asked), Some(told)) if *asked != told => {
                Err(mismatch(&self.request.source.to_string(), asked, &told))
            }
            (asked, told) => Ok(asked.clone().or(told)),
        }
    }

    /// Whether a file may be as large as this one.
    fn check_size(&self, total: Option<u64>) -> Result<()> {
        let max_size = self.limits.max_size;
        let Some(total) = total.filter(|total| *total > max_size) else { return Ok(()) };
        let detail = format!(
            "{} has {total} bytes, and a download may have {max_size}; the server's operator can \
             allow more by `max_size` in [plugins.model]",
            self.request.source
        );
        Err(OperationError::new("download-too-large", detail).with_status(422))
    }

    /// Whether there's room for what is missing.
    async fn check_space(&self, part: &mut OnDisk, total: Option<u64>) -> Result<()> {
        let (free_space, directory) = (self.free_space, self.directory.clone());
        let free = spawn_blocking(move || free_space(&directory)).await??;
        let missing = total.map_or(0, |total| total.saturating_sub(part.len()));
        let keep_free = self.limits.keep_free;
        let needed = missing.saturating_add(keep_free);
        if needed <= free {
            return Ok(());
        }
        if total.is_none() {
            // What may have no end isn't worth the room that it takes.
            part.clear().await?;
        }
        let detail = format!(
            "the disk is too small for {}: {needed} bytes are needed, {keep_free} of them to stay \
             free, and {free} are free",
            self.request.source
        );
        let error = OperationError::new("disk-full", detail).with_status(507);
        Err(error.with("needed", needed).with("free", free))
    }

    /// Adds what comes to the part.
    async fn receive(
        &self,
        part: &mut OnDisk,
        mut body: Incoming,
        total: Option<u64>,
        host: &str,
    ) -> Result<(), Failure> {
        self.tell(part.len(), total);
        let mut is_gguf = part.len() >= MAGIC.len() as u64;
        let (mut since, mut from) = (Instant::now(), part.len());
        let mut looked = part.len();
        loop {
            let frame = match timeout(self.limits.patience, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Err(Failure::passing(format!("{host} broke off ({error})")));
                }
                Err(_) => {
                    let patience = self.limits.patience.as_secs_f64();
                    return Err(Failure::passing(format!("{host} sent nothing for {patience} s")));
                }
            };
            if since.elapsed() >= self.limits.patience {
                let brought = part.len() - from;
                if !is_worth_it(brought, since.elapsed()) {
                    let seconds = since.elapsed().as_secs_f64();
                    let why = format!("{host} sent no more than {brought} bytes in {seconds:.0} s");
                    return Err(Failure::passing(why));
                }
                (since, from) = (Instant::now(), part.len());
            }
            let Ok(bytes) = frame.into_data() else { continue };
            if part.len() + bytes.len() as u64 > total.unwrap_or(self.limits.max_size) {
                part.clear().await?;
                let detail = format!("{host} sends more than it may or than it has said");
                return Err(OperationError::new("download-refused", detail)
                    .with_status(502)
                    .into());
            }
            part.append(bytes).await?;
            if part.len() - looked >= LOOK_EVERY {
                looked = part.len();
                self.check_space(part, total).await?;
            }
            if !is_gguf && part.len() >= MAGIC.len() as u64 {
                is_gguf = true;
                if part.with(|part| part.head(MAGIC.len())).await? != MAGIC {
                    part.clear().await?;
                    return Err(invalid(&self.request.source, &GgufError::NotGguf).into());
                }
            }
            self.tell(part.len(), total);
        }
        match total {
            Some(total) if part.len() < total => {
                Err(Failure::passing(format!("{host} ended after {} of {total} bytes", part.len())))
            }
            _ => Ok(()),
        }
    }

    /// Makes a model of what has come, if it's that. `is_pieced`: it came in more than one answer.
    async fn finish(
        &self,
        part: &mut OnDisk,
        expected: Option<&str>,
        is_pieced: bool,
    ) -> Result<Model, Failure> {
        let (file, sha256) = part.with(Part::finish).await?;
        if let Some(expected) = expected
            && sha256 != expected
        {
            part.clear().await?;
            return Err(if is_pieced {
                Failure::Restart(format!(
                    "the pieces of {} don't fit together",
                    self.request.source
                ))
            } else {
                mismatch(&self.request.source.to_string(), expected, &sha256).into()
            });
        }
        let bytes = part.len();
        let header = spawn_blocking(move || gguf::read(BufReader::new(file), bytes)).await;
        let header = match header.map_err(OperationError::from)? {
            Ok(header) => header,
            Err(error) => {
                part.clear().await?;
                return Err(invalid(&self.request.source, &error).into());
            }
        };
        let (file, source) = (self.request.source.file_name(), self.request.source.to_string());
        let model = Model::new(&self.request.id, file, Some(source), (bytes, sha256), header);
        let (catalog, id) = (self.catalog.clone(), self.request.id.clone());
        let publish = move |part: &mut Part| {
            let (path, staged) = (part.path(), catalog.stage()?);
            // A link, so that a crash before the model is there costs nothing that has come.
            fs::hard_link(&path, staged.file()).or_else(|_| fs::rename(&path, staged.file()))?;
            let kept = catalog.keep(staged, &id, model);
            // Here, as nobody may wait for it any more.
            if kept.is_ok() {
                part.remove()?;
            }
            Ok(kept)
        };
        Ok(part.with(publish).await??)
    }

    fn tell(&self, done: u64, total: Option<u64>) {
        self.status.send_modify(|status| {
            status.done = done;
            status.total = total;
        });
    }
}

/// A part whose calls for the disk are made on a thread for that. One that was begun is done even if
/// its future is dropped, and holds the part until then.
struct OnDisk {
    part: Option<Part>,
    /// How often what had come was of no use.
    restarts: u32,
}

impl OnDisk {
    async fn open(directory: PathBuf, source: String) -> Result<Self> {
        let part = spawn_blocking(move || Part::open(directory, &source)).await?;
        let part = part.map_err(|error| not_written(&error))?;
        Ok(Self { part: Some(part), restarts: 0 })
    }

    fn get(&self) -> &Part {
        self.part
            .as_ref()
            .expect("a call for the disk that was dropped or panicked was the last one")
    }

    fn len(&self) -> u64 {
        self.get().len()
    }

    async fn clear(&mut self) -> Result<()> {
        self.restarts += u32::from(self.len() > 0);
        self.with(Part::clear).await
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.part {
            // No call for the disk.
            Some(part) if bytes.len() <= part.room() => {
                part.append(&bytes).map_err(|error| not_written(&error))
            }
            _ => self.with(move |part| part.append(&bytes)).await,
        }
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Part) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(mut part) = self.part.take() else {
            unreachable!("a call for the disk that was dropped or panicked was the last one")
        };
        let done = spawn_blocking(move || {
            let done = work(&mut part);
            (part, done)
        });
        let (part, done) = done.await?;
        self.part = Some(part);
        done.map_err(|error| not_written(&error))
    }
}

/// Whether a server that has brought so much in this time may go on like this.
fn is_worth_it(brought: u64, time: Duration) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "a count of bytes below 2^53 is exact")]
    let brought = brought as f64;
    brought > 0.0 && brought >= SLOWEST * time.as_secs_f64()
}

/// How much of a directory's disk this process may still use, bytes.
pub(crate) fn free_space(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The disk doesn't take what comes.
fn not_written(error: &io::Error) -> OperationError {
    let detail = format!("what comes can't be kept on the disk: {error}");
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let (code, status) = if is_full { ("disk-full", 507) } else { ("model-not-stored", 500) };
    OperationError::new(code, detail).with_status(status)
}

fn invalid(source: &Remote, reason: &GgufError) -> OperationError {
    let detail = format!("{source} is no model: {reason}");
    OperationError::new("invalid-model", detail).with_status(422)
}
