//! All hives: the catalog, the links to them, and this machine itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use skep::StreamExt;
use skep::placement::LOCALHOST;
use skep::plugin::{RouterHandle, ShutdownSignal};
use skep::prelude::*;
use skep::store::Changes;
use tracing::error;

use crate::catalog::Catalog;
use crate::heartbeat::Heartbeat;
use crate::hive::{Entry, Hive, HiveStatus, State};
use crate::known::{Known, Thresholds};
use crate::link::Link;
use crate::news::{News, Told};
use crate::pulse::Pulse;
use crate::way::{Paths, Way};

/// All hives.
pub(crate) struct Hives {
    pub(crate) catalog: Catalog,
    pub(crate) pulse: Arc<Pulse>,
    router: RouterHandle,
    thresholds: Thresholds,
    paths: Paths,
    news: News,
    links: Mutex<BTreeMap<String, Arc<Link>>>,
    /// Held while the catalog is read for the links, so that an older state never comes last.
    refreshing: tokio::sync::Mutex<()>,
}

impl Hives {
    pub(crate) fn new(
        catalog: Catalog,
        pulse: Arc<Pulse>,
        router: RouterHandle,
        thresholds: Thresholds,
        paths: Paths,
        news: News,
    ) -> Self {
        let (links, refreshing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { catalog, pulse, router, thresholds, paths, news, links, refreshing }
    }

    /// Follows the catalog, and tells of this machine, until the server goes down.
    pub(crate) async fn run(self: Arc<Self>, mut changes: Changes, shutdown: ShutdownSignal) {
        let mut pulse = self.pulse.watch();
        loop {
            tokio::select! {
                change = changes.next() => {
                    if change.is_none() {
                        break;
                    }
                    if let Err(error) = self.refresh().await {
                        error!("the catalog of hives can't be read: {error}");
                    }
                }
                beat = pulse.changed() => {
                    if beat.is_err() {
                        break;
                    }
                    let heartbeat = pulse.borrow_and_update().clone();
                    self.news.publish(|| Told::here((*heartbeat).clone()));
                }
                () = shutdown.requested() => break,
            }
        }
        // The jobs here have ended, and with them what is done elsewhere for those that don't go on.
        let links = std::mem::take(&mut *self.lock());
        join_all(links.values().map(|link| link.cancel_rest())).await;
        for link in links.values() {
            link.close();
        }
    }

    /// Has a link to each hive of the catalog, and to no other.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let _alone = self.refreshing.lock().await;
        let entries = self.catalog.list().await?;
        let mut links = self.lock();
        let mut former = std::mem::take(&mut *links);
        for entry in entries {
            let former = former.remove(&entry.id);
            let link = match former {
                Some(link) if leads_to_the_same(&link.entry, &entry) => link,
                former => self.follow(entry, former.as_deref()),
            };
            links.insert(link.entry.id.clone(), link);
        }
        for link in former.values() {
            link.close();
        }
        Ok(())
    }

    /// A link by `entry`, in place of the `former` one.
    fn follow(&self, entry: Entry, former: Option<&Link>) -> Arc<Link> {
        let way = Way::of(&entry, &self.paths);
        let link = Link::new(entry, way, self.thresholds, self.news.clone(), former);
        let link = Arc::new(link);
        tokio::spawn(link.clone().follow());
        if let Some(former) = former {
            former.close();
        }
        link
    }

    /// The links to all hives but this machine.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.lock().values().cloned().collect()
    }

    /// The link to hive `id`.
    ///
    /// # Errors
    /// `unknown-hive`.
    pub(crate) fn link(&self, id: &str) -> Result<Arc<Link>> {
        let links = self.lock();
        if let Some(link) = links.get(id) {
            return Ok(link.clone());
        }
        let known = links.keys().map(String::as_str).chain([LOCALHOST]);
        Err(OperationError::unknown("hive", id, known, "hive_list"))
    }

    /// How this machine is now.
    pub(crate) async fn here(&self) -> Heartbeat {
        match self.router.router() {
            Some(router) => self.pulse.look(&router).await,
            None => (**self.pulse.watch().borrow()).clone(),
        }
    }

    /// How hive `id` is: this machine now, any other as it last told.
    ///
    /// # Errors
    /// `unknown-hive`.
    pub(crate) async fn status(&self, id: &str) -> Result<HiveStatus> {
        if id == LOCALHOST {
            return Ok(HiveStatus { hive: here(), heartbeat: Some(self.here().await) });
        }
        let link = self.link(id)?;
        let known = link.known();
        let heartbeat = known.heartbeat.as_deref().cloned();
        Ok(HiveStatus { hive: show(&link.entry, &known), heartbeat })
    }

    /// Every hive, this machine first.
    pub(crate) fn list(&self) -> Vec<Hive> {
        let others = self.links();
        let others = others.iter().map(|link| show(&link.entry, &link.known()));
        [here()].into_iter().chain(others).collect()
    }

    /// The answer to whoever wants to hear of all of them.
    pub(crate) fn stream(&self) -> skep::http::Response {
        self.news.stream(|| self.told((**self.pulse.watch().borrow()).clone()))
    }

    /// What is known of all of them.
    pub(crate) async fn tell(&self) -> Vec<Told> {
        self.told(self.here().await)
    }

    fn told(&self, here: Heartbeat) -> Vec<Told> {
        let others = self.links();
        let others = others.iter().map(|link| Told::of(&link.entry.id, &link.known()));
        [Told::here(here)].into_iter().chain(others).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Link>>> {
        // A thread that died under the lock has at most left a link out, which the next refresh makes.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a link by one entry serves for the other.
fn leads_to_the_same(one: &Entry, other: &Entry) -> bool {
    Entry { pid: None, ..one.clone() } == Entry { pid: None, ..other.clone() }
}

/// This machine as a hive.
fn here() -> Hive {
    Hive {
        id: LOCALHOST.to_owned(),
        state: State::Online,
        host: None,
        port: None,
        ssh: None,
        created_at: None,
        heard_at: None,
        failure: None,
    }
}

/// A hive of the catalog, and what is known of it.
pub(crate) fn show(entry: &Entry, known: &Known) -> Hive {
    Hive {
        id: entry.id.clone(),
        state: known.state,
        host: Some(entry.host.clone()),
        port: entry.port,
        ssh: entry.ssh.clone(),
        created_at: Some(entry.created_at),
        heard_at: known.heard_at,
        failure: known.silence(),
    }
}
