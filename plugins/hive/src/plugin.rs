//! The operations.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use skep::http::{self, Request, Response};
use skep::placement::LOCALHOST;
use skep::prelude::*;

use crate::catalog::Catalog;
use crate::check::{Checked, Layer, check};
use crate::config::Config;
use crate::handover::Errand;
use crate::hive::{Entry, Hive, HiveStatus, id_of};
use crate::hives::Hives;
use crate::known::Thresholds;
use crate::news::News;
use crate::pulse::Pulse;
use crate::reported::Reported;
use crate::start::{start, stop};
use crate::way::Paths;

pub(crate) struct HivePlugin {
    pub(crate) hives: Arc<Hives>,
    start_timeout: Duration,
    reported: Arc<Reported>,
}

/// Machines that can run workers, and where jobs run.
#[skep::plugin(name = "hive", config = Config, interceptor)]
impl HivePlugin {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        cx.config.check()?;
        let catalog = Catalog::new(cx.documents().clone());
        // Before they are listed, so that no change is missed in between.
        let changes = catalog.watch();
        let pulse = Arc::new(Pulse::new(cx.router().clone(), *cx.config.heartbeat));
        let thresholds =
            Thresholds { late: *cx.config.late_after, offline: *cx.config.offline_after };
        let paths = Paths::new(cx.config.ssh_config.clone())?;
        let news = News::new(cx.shutdown());
        let router = cx.router().clone();
        let hives = Hives::new(catalog, pulse.clone(), router, thresholds, paths, news);
        let hives = Arc::new(hives);
        hives.refresh().await?;
        let reported =
            Reported::new(cx.router().clone(), *cx.config.heartbeat, *cx.config.offline_after);
        let reported = Arc::new(reported);
        cx.spawn(reported.clone().watch(cx.shutdown()));
        cx.spawn(pulse.run(cx.shutdown()));
        cx.spawn(hives.clone().run(changes, cx.shutdown()));
        Ok(Self { hives, start_timeout: *cx.config.start_timeout, reported })
    }

    /// Tell how this server is, and how its hives are.
    #[route(GET, "/v1/heartbeats")]
    async fn heartbeats(&self, _request: Request) -> Result<Response> {
        Ok(http::json(&self.hives.tell().await))
    }

    /// The same, as it becomes known.
    #[route(GET, "/v1/heartbeats/stream")]
    async fn heartbeats_stream(&self, _request: Request) -> Result<Response> {
        Ok(self.hives.stream())
    }

    /// A worker that nobody here has started tells that it's alive.
    #[route(POST, "/v1/heartbeat")]
    async fn heartbeat(&self, request: Request) -> Result<Response> {
        Ok(http::json(&self.reported.hear(request.json()?).await?))
    }

    /// List the hives, this machine first.
    #[operation(read_only, idempotent)]
    async fn hive_list(&self) -> Result<Vec<Hive>> {
        Ok(self.hives.list())
    }

    /// Show one hive.
    #[operation(read_only, idempotent)]
    async fn hive_get(
        &self,
        /// The hive's id.
        id: String,
    ) -> Result<Hive> {
        Ok(self.hives.status(&id).await?.hive)
    }

    /// Add a hive to the catalog: another machine's server, or another one on this machine.
    ///
    /// It's not started: `hive_start` does that, here or over SSH. One that runs already is heard
    /// within a second.
    #[operation]
    async fn hive_create(
        &self,
        /// What to call it; the machine's name if absent.
        id: Option<String>,
        /// The machine: its name or its address. With `ssh`, as seen from there.
        #[default("127.0.0.1")]
        #[schemars(length(min = 1, max = 253))]
        host: String,
        /// The port that its server listens on; if absent, `hive_start` has it take one that is free.
        #[schemars(range(min = 1))]
        port: Option<u16>,
        /// How SSH gets there: `[USER@]HOST`, or an alias of its configuration. The hive is then
        /// reached through it, and its server need not be reachable from anywhere else.
        #[schemars(length(min = 1, max = 253), regex(pattern = "^[^-\\s]\\S*$"))]
        ssh: Option<String>,
    ) -> Result<Hive> {
        let id = id_of(id, ssh.as_deref().unwrap_or(&host))?;
        let created_at = Timestamp::now();
        let entry = Entry { id, host, port, ssh, created_at, pid: None };
        self.hives.catalog.add(&entry).await?;
        self.hives.refresh().await?;
        self.hives.link(&entry.id)?.settled().await;
        Ok(self.hives.status(&entry.id).await?.hive)
    }

    /// Change how a hive is reached. What is absent stays as it is. Jobs that it does for this server fail
    /// with `hive-lost`, or begin anew: the way there may lead to another one.
    #[operation(idempotent)]
    async fn hive_update(
        &self,
        /// The hive's id.
        id: String,
        /// The machine.
        #[schemars(length(min = 1, max = 253))]
        host: Option<String>,
        /// The port that its server listens on.
        #[schemars(range(min = 1))]
        port: Option<u16>,
        /// How SSH gets there.
        #[schemars(length(min = 1, max = 253), regex(pattern = "^[^-\\s]\\S*$"))]
        ssh: Option<String>,
    ) -> Result<Hive> {
        not_here(&id, "changed")?;
        let change = |entry: &mut Entry| {
            if let Some(host) = &host {
                entry.host.clone_from(host);
            }
            entry.port = port.or(entry.port);
            if ssh.is_some() {
                entry.ssh.clone_from(&ssh);
            }
        };
        if self.hives.catalog.change(&id, change).await?.is_some() {
            self.hives.refresh().await?;
            self.hives.link(&id)?.settled().await;
        }
        Ok(self.hives.status(&id).await?.hive)
    }

    /// Take a hive out of the catalog. A server that runs there goes on; jobs that it does for this
    /// server fail with `hive-lost`, and are cancelled there if it can be reached.
    #[operation(destructive)]
    async fn hive_delete(
        &self,
        /// The hive's id.
        id: String,
        /// Whether it's deleted though `hive_start` has started a server there, which may run, and which
        /// nothing here would know how to stop.
        #[default(false)]
        force: bool,
    ) -> Result<Hive> {
        not_here(&id, "deleted")?;
        let entry = self.hives.catalog.find(&id).await?;
        if let (false, Some(Entry { pid: Some(pid), .. })) = (force, entry) {
            let detail = format!(
                "hive `{id}` was started, as process {pid}: stop it first (`hive_stop`), or delete it \
                 all the same (`force`)"
            );
            return Err(OperationError::new("hive-started", detail).with_status(409));
        }
        let hive = self.hives.status(&id).await?.hive;
        self.hives.catalog.delete(&id).await?;
        self.hives.refresh().await?;
        Ok(hive)
    }

    /// Show how a hive is: its machine, its models, its workers, its jobs.
    #[operation(read_only, idempotent)]
    async fn hive_status(
        &self,
        /// The hive's id.
        #[default("localhost")]
        hive_id: String,
    ) -> Result<HiveStatus> {
        self.hives.status(&hive_id).await
    }

    /// Start a hive's server, on this machine or over SSH, and wait until it's online.
    ///
    /// Each stage is told. Over SSH, the program that this server is is copied there if it's missing
    /// there, or of another version; what has to be copied comes as progress, in bytes. The server
    /// is no child of this one: it goes on when this one goes down.
    #[operation(idempotent)]
    async fn hive_start(
        &self,
        /// The hive's id.
        hive_id: String,
        job: &JobContext,
    ) -> Result<Hive> {
        not_here(&hive_id, "started")?;
        start(&self.hives, &hive_id, self.start_timeout, job).await
    }

    /// Stop a hive's server that `hive_start` has started, and its workers. Its jobs have the time to
    /// end that the server gives them.
    #[operation(destructive, idempotent)]
    async fn hive_stop(
        &self,
        /// The hive's id.
        hive_id: String,
        job: &JobContext,
    ) -> Result<Hive> {
        not_here(&hive_id, "stopped")?;
        stop(&self.hives, &hive_id, job).await
    }

    /// Check the way to a hive, layer by layer, and tell where it ends.
    #[operation(read_only, idempotent, emits = Layer)]
    async fn hive_check(
        &self,
        /// The hive's id.
        #[default("localhost")]
        hive_id: String,
        job: &JobContext,
    ) -> Result<Checked> {
        check(&self.hives, &hive_id, job).await
    }

    /// Have a hive do a job, and relay what it tells.
    #[operation(hidden, idempotent, retry(attempts = 10, backoff = "200ms"))]
    async fn hive_relay(&self, Input(errand): Input<Errand>, job: &JobContext) -> Result<Value> {
        errand.run(&self.hives, job).await
    }
}

/// Refuses to do to this machine what is done to others.
fn not_here(id: &str, what: &str) -> Result<()> {
    if id != LOCALHOST {
        return Ok(());
    }
    let detail = format!("`{LOCALHOST}` is the server itself, which can't be {what}");
    Err(OperationError::new("invalid-id", detail).with_status(422))
}
