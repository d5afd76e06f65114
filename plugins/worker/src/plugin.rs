//! The operations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skep::prelude::*;
use tokio::time::timeout;

use crate::catalog::{Catalog, Started, Wanted};
use crate::config::Config;
use crate::driver::{Attached, Cpu, Driver, LlamaConfig, LlamaServer};
use crate::log::{KEPT_LINES, LogEntry};
use crate::process::Program;
use crate::protocol::{Answer, Ask, Generate, Load, Say, Token};
use crate::queue::Place;
use crate::running::{Running, Stop};
use crate::session::Replies;
use crate::worker::{Backend, Kind, ModelFile, Worker};

/// How many requests a server that isn't ours may have at once: it has a queue of its own.
const ATTACHED_SLOTS: usize = 16;

struct Workers {
    catalog: Arc<Catalog>,
    context: usize,
    slots: usize,
    llama_server: LlamaConfig,
    api_keys: BTreeMap<String, String>,
}

/// What `model_locate` tells, as far as it's needed here.
#[derive(serde::Deserialize)]
struct Location {
    path: String,
    model: ModelFile,
}

/// What `worker_logs` did.
#[skep::data]
struct Told {
    /// How many lines were emitted.
    lines: u64,
}

/// Processes that hold models: spawn, list, get, delete, logs.
#[skep::plugin(name = "worker", config = Config)]
impl Workers {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let limits = cx.config.limits();
        let Config { context, slots, threads, llama_server, api_keys, command, .. } = cx.config;
        let catalog = Arc::new(Catalog::new(Program::new(command, threads)?, limits));
        Ok(Self { catalog, context, slots, llama_server, api_keys })
    }

    async fn shutdown(&self) {
        self.catalog.shut_down().await;
    }

    async fn health(&self) -> Health {
        if self.catalog.means.program.is_there() {
            return Health::Healthy;
        }
        Health::Unhealthy("the program that is started as a worker is gone".to_owned())
    }

    /// Start a worker: a process that loads a model and keeps it.
    ///
    /// How far the load is comes as progress, in bytes. Cancelling the job ends the process. If there's no
    /// place or memory for it, workers that have no job end, the one that has had none for the longest
    /// first.
    #[operation(placed)]
    async fn worker_spawn(
        &self,
        /// The id of the model, as `model_list` has it.
        model: String,
        /// What to compute with: `cpu`, the engine that is built in, or `llama-server`, llama.cpp's.
        #[default(Engine::Cpu)]
        worker: Engine,
        /// Which of the machine's devices to compute on; the built-in engine knows one.
        #[default(0)]
        device: u32,
        job: &JobContext,
    ) -> Result<Worker> {
        self.spawn(&model, worker, device, Wanted::New, job).await
    }

    /// The worker of a model, whatever it's doing; one is started if there's none.
    ///
    /// Those that ask for one model at once get one worker.
    #[operation(hidden)]
    async fn worker_ensure(
        &self,
        /// The id of the model.
        model: String,
        /// What to compute with, if it's started.
        #[default(Engine::Cpu)]
        worker: Engine,
        /// Which device to compute on, if it's started.
        #[default(0)]
        device: u32,
        job: &JobContext,
    ) -> Result<Worker> {
        // A server that is attached may have a model that has no file here.
        if let Some(running) = self.catalog.of_model(&model) {
            return Ok(running.view());
        }
        self.spawn(&model, worker, device, Wanted::Any, job).await
    }

    /// Attach a server that speaks OpenAI's protocol as a worker: `infer` asks it for the model.
    ///
    /// A key that it wants is in the configuration (`api_keys`), not in the job.
    #[operation(placed)]
    async fn worker_attach(
        &self,
        /// Where it is: the part before `/v1/...`, without a user or a password.
        #[schemars(regex(pattern = "^https?://[^\\s/@]+(/\\S*)?$"))]
        url: String,
        /// What `infer` is to call the model.
        #[schemars(length(min = 1, max = 200))]
        model: String,
        /// What the server calls it, if that is another name.
        remote_model: Option<String>,
        job: &JobContext,
    ) -> Result<Worker> {
        let remote = remote_model.unwrap_or_else(|| model.clone());
        let model = ModelFile {
            id: model,
            architecture: "remote".to_owned(),
            bytes: 0,
            quantisation: None,
            context_length: None,
            kv_size: None,
        };
        let load = Load { path: String::new(), context: self.context, slots: ATTACHED_SLOTS };
        let driver = Attached { url: &url, model: &remote, api_key: self.api_keys.get(&url) };
        let kind = Kind { backend: Backend::Url, device: 0, url: Some(url.clone()) };
        self.start_worker(&model, kind, &driver, load, Wanted::New, job).await
    }

    /// List the workers that run, the oldest first.
    #[operation(read_only, idempotent, placed)]
    async fn worker_list(&self) -> Result<Vec<Worker>> {
        Ok(self.catalog.list().iter().map(|running| running.view()).collect())
    }

    /// Show one worker.
    #[operation(read_only, idempotent, placed)]
    async fn worker_get(
        &self,
        /// The worker's id.
        id: String,
    ) -> Result<Worker> {
        Ok(self.catalog.find(&id)?.view())
    }

    /// Wait until a worker has its model.
    #[operation(read_only, idempotent, hidden)]
    async fn worker_ready(
        &self,
        /// The worker's id.
        id: String,
        job: &JobContext,
    ) -> Result<Worker> {
        let running = self.catalog.find(&id)?;
        tokio::select! {
            ready = running.ready() => ready?,
            () = job.cancelled() => {}
        }
        Ok(running.view())
    }

    /// End a worker. The jobs that it has fail with `worker-deleted`.
    #[operation(destructive, placed)]
    async fn worker_delete(
        &self,
        /// The worker's id.
        id: String,
    ) -> Result<Worker> {
        let running = self.catalog.find(&id)?;
        running.stop(Stop::Deleted);
        running.gone().await;
        Ok(running.view())
    }

    /// Read the log of a worker, oldest line first; the last 1000 lines are kept.
    #[operation(read_only, idempotent, emits = LogEntry, placed)]
    async fn worker_logs(
        &self,
        /// The worker's id.
        id: String,
        /// With how many of the last lines to begin; all that are kept if absent.
        tail: Option<usize>,
        /// Go on with the lines that come, until the job is cancelled or the worker ends.
        #[default(false)]
        follow: bool,
        job: &JobContext,
    ) -> Result<Told> {
        let running = self.catalog.find(&id)?;
        let log = &running.log;
        let mut position = log.before_last(tail.unwrap_or(KEPT_LINES));
        let mut lines = 0;
        loop {
            let (entries, end) = log.read(position);
            position = end;
            for entry in entries {
                job.emit(&entry).await?;
                lines += 1;
            }
            let goes_on = follow
                && tokio::select! {
                    grows = log.grows(position) => grows,
                    () = job.cancelled() => false,
                };
            if !goes_on {
                return Ok(Told { lines });
            }
        }
    }

    /// Generate a text on a worker.
    #[operation(hidden, emits = Token)]
    async fn worker_infer(
        &self,
        /// The worker's id.
        worker_id: String,
        /// What to generate.
        request: Generate,
        job: &JobContext,
    ) -> Result<Answer> {
        let running = self.catalog.find(&worker_id)?;
        let place = running.enter().await?;
        let answer = ask(&running, Ask::Infer(request), place, job).await?;
        running.has_answered();
        self.catalog.means.crashes.forget(&running.model);
        Ok(serde_json::from_value(answer)?)
    }
}

impl Workers {
    /// Starts a worker that holds a model's file, and has it load, unless one is there that is wanted.
    async fn spawn(
        &self,
        model: &str,
        engine: Engine,
        device: u32,
        wanted: Wanted,
        job: &JobContext,
    ) -> Result<Worker> {
        if matches!(engine, Engine::Cpu) && device != 0 {
            let detail = "the built-in engine computes on the processor, which is device 0";
            return Err(OperationError::new("invalid-device", detail).with_status(422));
        }
        let Location { path, model } = locate(job, model).await?;
        let load = Load { path, context: self.context, slots: self.slots };
        match engine {
            Engine::Cpu => {
                let kind = Kind { backend: Backend::Cpu, device, url: None };
                self.start_worker(&model, kind, &Cpu, load, wanted, job).await
            }
            Engine::LlamaServer => {
                let kind = Kind { backend: Backend::LlamaServer, device, url: None };
                let driver = LlamaServer { config: &self.llama_server, device };
                self.start_worker(&model, kind, &driver, load, wanted, job).await
            }
        }
    }

    /// Starts what the driver says, for what [`spawn`](Self::spawn) does.
    async fn start_worker(
        &self,
        model: &ModelFile,
        kind: Kind,
        driver: &(dyn Driver + Sync),
        request: Load,
        wanted: Wanted,
        job: &JobContext,
    ) -> Result<Worker> {
        let started = self.catalog.start(model, kind, driver, request, wanted).await?;
        let (running, request, place) = match started {
            Started::New(running, request, place) => (running, request, place),
            Started::Found(running) => return Ok(running.view()),
        };
        let unwanted = StopOnDrop(Some(running.clone()));
        let limit = self.catalog.means.limits.start;
        let loads = timeout(limit, load(&running, request, place, job)).await;
        match loads.unwrap_or_else(|_| Err(took_too_long(&running, limit))) {
            Ok(()) => {
                unwanted.disarm();
                Ok(running.view())
            }
            Err(error) => {
                running.stop(Stop::NotLoaded(error.to_string()));
                // The job ends when the process has.
                running.gone().await;
                Err(error)
            }
        }
    }
}

/// What a worker that is started computes with.
#[skep::data]
#[derive(Clone, Copy)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
enum Engine {
    // Doc comments here would make a `oneOf` of the schema, whose errors say nothing.
    Cpu,
    LlamaServer,
}

/// Ends a worker that is not wanted after all, also when the job is aborted.
struct StopOnDrop(Option<Arc<Running>>);

impl StopOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(running) = &self.0 {
            running.stop(Stop::NotLoaded("the job was aborted".to_owned()));
        }
    }
}

async fn locate(job: &JobContext, model: &str) -> Result<Location> {
    let located = job.call("model_locate", json!({ "id": model })).await;
    located.map_err(|error| error.or_missing_plugin("model", "skep-model"))
}

fn took_too_long(running: &Running, limit: Duration) -> OperationError {
    let Running { id, model, .. } = running;
    let detail = format!(
        "worker `{id}` has not loaded the model `{model}` within {limit:?} (`start_timeout`), and was ended"
    );
    OperationError::new("worker-start-timeout", detail).with_status(504)
}

async fn load(running: &Running, load: Load, place: Place, job: &JobContext) -> Result<()> {
    let loaded = ask(running, Ask::Load(load), place, job).await?;
    running.loaded(serde_json::from_value(loaded)?);
    // It may have ended at once.
    running.ready().await
}

/// Has the worker do something for the job, when it's the turn of `place`: relays what it says, and returns its
/// result. When the job is cancelled, so is the request.
async fn ask(running: &Running, ask: Ask, mut place: Place, job: &JobContext) -> Result<Value> {
    let relayed = async {
        let mut replies = loop {
            wait(running, &place, job).await?;
            if matches!(ask, Ask::Infer(_)) {
                // The turn may have come by a load that failed.
                running.ready().await?;
            }
            match running.ask(ask.clone(), place).await {
                Ok(replies) => break replies,
                // Its process has ended before it was asked, and the next one comes.
                Err(again) => place = again,
            }
        };
        let result = relay(running, &mut replies, job).await;
        if let Err(error) = &result
            && error.problem().code == "worker-crashed"
        {
            for line in replies.session().exit().await.lines {
                job.log(LogLevel::Error, line).await?;
            }
        }
        result
    };
    tokio::select! {
        result = relayed => result,
        () = job.cancelled() => Err(OperationError::message("the job was cancelled")),
    }
}

/// Waits for the job's turn. How many are before it comes as progress.
async fn wait(running: &Running, place: &Place, job: &JobContext) -> Result<()> {
    let ahead = running.before(place, None).await?;
    let mut before = ahead;
    while before > 0 {
        // More come before it when the worker is started again.
        let done = ahead.saturating_sub(before) as u64;
        job.progress(done, ahead as u64, "jobs before this one").await?;
        before = running.before(place, Some(before)).await?;
    }
    Ok(())
}

async fn relay(running: &Running, replies: &mut Replies, job: &JobContext) -> Result<Value> {
    loop {
        match running.next(replies).await? {
            Say::Emit(output) => job.emit(&output).await?,
            Say::Progress(progress) => {
                job.progress(progress.done, progress.total, &progress.unit).await?;
            }
            Say::Log(line) => job.log(line.level, line.message).await?,
            Say::Result(result) => return Ok(result),
            Say::Error(problem) => return Err(problem.into()),
        }
    }
}
