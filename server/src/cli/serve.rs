//! `skep serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skep::Router;
use skep::plugin::Linked;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::Error;
use crate::config::{Config, FileArgs, ServeFlags};
use crate::http::Http;
use crate::listen::Parent;
use crate::store::ChosenStore;
use crate::{http, logging, server};

/// Worker threads beyond the processor's. An operation that hasn't proved to be prompt doesn't get on
/// them at all; these are for one that has, and then blocks in some of its jobs.
const SPARE_THREADS: usize = 8;

/// How long threads that a handler blocks are waited for at the end.
const RUNTIME_PATIENCE: Duration = Duration::from_millis(500);

/// How often the metrics are put in order.
const UPKEEP: Duration = Duration::from_secs(5);

/// The histograms' buckets, seconds.
const BUCKETS: [f64; 12] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3_600.0];

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    flags: ServeFlags,
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let parent = Parent::of_this_process();
        let mut config = Config::load(&self.file, &self.flags)?;
        let store = ChosenStore::of(&mut config)?;
        logging::init(config.server.log_format);
        raise_file_limit();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores + SPARE_THREADS)
            .enable_all()
            .build()?;
        let served = runtime.block_on(serve(config, store, parent));
        runtime.shutdown_timeout(RUNTIME_PATIENCE);
        served.map(|()| ExitCode::SUCCESS)
    }
}

async fn serve(config: Config, store: ChosenStore, parent: Parent) -> Result<(), Error> {
    let Config { server, jobs, operations, plugins } = config;
    // Before anything starts: a taken port is told at once.
    let listener = server.listener().await?;
    let name = store.name();
    let store = store.open().await?;
    info!("jobs are kept by the store `{name}`");
    let mut engine = skep::Config::default();
    engine.jobs = jobs;
    engine.operations = operations;
    engine.data_dir.clone_from(&server.data_dir);
    engine.plugins = plugins;
    // Before the plugins start: they may count from then on.
    let recorder = recorder()?;
    let router = Router::start(engine, Linked::all(), store).await?;
    let http = match Http::new(router.clone(), recorder, &server) {
        Ok(http) => Arc::new(http),
        Err(error) => {
            router.shutdown(Duration::ZERO).await;
            return Err(error.into());
        }
    };
    let stop = stop_signal()?;
    info!("listening on http://{}", listener.local_addr()?);
    server::serve(listener, http, &server, async {
        tokio::select! {
            () = stop => {}
            () = server.listen.lost(parent) => info!("whoever handed this server its socket is gone"),
        }
        // Until the jobs have ended the server still answers: clients read their streams to the
        // end, and /readyz says that it goes down.
        router.shutdown(*server.drain).await;
    })
    .await;
    info!("stopped");
    Ok(())
}

/// Installs what keeps the metrics until they are asked for.
fn recorder() -> Result<PrometheusHandle, Error> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    http::metrics::describe();
    let upkeep = recorder.clone();
    tokio::spawn(async move {
        // What nobody asks for must not pile up.
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(recorder)
}

/// Lets the server have as many files open as the system allows it. The limit that it's started with
/// is mostly 1024, for programs that can't deal with more: a connection each is soon above it.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Returns a future that waits for SIGTERM or Ctrl-C. The second one ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            info!("stopped at once, as asked for the second time");
            std::process::exit(130);
        });
    })
}
