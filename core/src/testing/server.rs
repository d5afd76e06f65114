//! A server for tests, without HTTP.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::clock;
use crate::config::{Config, JobsConfig};
use crate::error::Result;
use crate::job::{JobContext, JobRequest};
use crate::operation::{OperationHandler, OperationSpec};
use crate::plugin::{Linked, PluginRegistration};
use crate::problem::Problem;
use crate::router::{Router, RouterError, StartError};
use crate::store::MemoryStore;
use crate::testing::fake::Fake;
use crate::testing::specs;
use crate::testing::{Fault, FaultyStore, StoreCall, TestJob};

/// How much the store of a test server holds, bytes.
const CAPACITY: u64 = 256 << 20;

/// How long a test waits for what doesn't come, by the clock on the wall.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server for a test: any set of plugins, without HTTP, on a store in memory.
///
/// It has a runtime of its own and one thread, the test's: a test is a plain `#[test]` function, and
/// jobs go on while it waits for something. **Time is paused**: where every job waits for its time,
/// the clock jumps to the next one, so that an hour's timeout takes a millisecond to try. Plugins
/// that wait for what is outside (a process, a socket) need [`real_time`](TestServerBuilder::real_time).
///
/// Where something doesn't go as the test has it (a job is refused, an event doesn't come), its
/// methods panic and say what happened instead.
pub struct TestServer {
    setup: Setup,
    store: Arc<MemoryStore>,
    fault: Arc<Mutex<FaultFn>>,
    data_dir: tempfile::TempDir,
    /// `None` only while one life ends and the next begins.
    life: RefCell<Option<Life>>,
    /// When the last life ended, by its clock: time doesn't go back.
    ended: Cell<Timestamp>,
}

type FaultFn = Box<dyn FnMut(StoreCall) -> Fault + Send>;

/// What a server is started with, each time.
struct Setup {
    config: Config,
    linked: Linked,
    is_paused: bool,
}

/// A server from its start to its end, or its death.
struct Life {
    // In this order: what the router's drop leaves to do is dropped with the runtime.
    router: Router,
    runtime: Runtime,
    clock: Option<(Timestamp, Instant)>,
}

/// Sets up a [`TestServer`].
pub struct TestServerBuilder(Setup);

impl TestServer {
    /// A server with all that is linked into the test.
    ///
    /// # Panics
    /// If it doesn't start.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server that is set up otherwise.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder(Setup {
            config: Config::default(),
            linked: Linked::all(),
            is_paused: true,
        })
    }

    /// Runs an operation to the job's end.
    pub fn run(&self, operation: &str, input: Value) -> TestJob<'_> {
        let job = self.create(operation, input);
        job.end();
        job
    }

    /// Has a job accepted. It goes on whenever the test waits for something.
    pub fn create(&self, operation: &str, input: Value) -> TestJob<'_> {
        self.accepted(JobRequest::new(operation, input))
    }

    /// Has a job accepted and waits until its attempt has emitted event `event`, counting all events
    /// of its log from 1. There it stands, until [`TestJob::release`], its cancellation, or the
    /// server's death: nothing happens behind it.
    pub fn create_until(&self, operation: &str, input: Value, event: u64) -> TestJob<'_> {
        let mut request = JobRequest::new(operation, input);
        request.hold_at = Some(event);
        let job = self.accepted(request);
        job.events_until(event);
        job
    }

    /// Asks for a job as a client would: with a priority, a key, a start of its own.
    ///
    /// # Errors
    /// Why it's refused.
    pub fn request(&self, request: JobRequest) -> Result<TestJob<'_>, RouterError> {
        let router = self.router();
        let record = self.block_on(async move { router.create_job(request).await })?;
        Ok(TestJob::new(self, record.id))
    }

    /// Runs an operation and returns its result.
    ///
    /// # Errors
    /// The job's problem, or why it's refused.
    pub fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        let router = self.router();
        self.block_on(async move { router.call(operation, input).await })
    }

    /// Stops the server as SIGTERM does, without a drain, and starts it again on what its store has.
    pub fn restart(&self) {
        let router = self.router();
        self.block_on(async move { router.shutdown(Duration::ZERO).await });
        self.begin_again();
    }

    /// Kills the server as `kill -9` does, and starts it again on what its store has.
    pub fn crash(&self) {
        self.begin_again();
    }

    /// From now on each call of the store ends as `fault` says.
    pub fn inject(&self, fault: impl FnMut(StoreCall) -> Fault + Send + 'static) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(fault);
    }

    /// Lets time pass, if it's paused, with all that happens in it.
    pub fn advance(&self, time: Duration) {
        self.block_on(async move { tokio::time::sleep(time).await });
    }

    /// Where the plugins keep their files, each in a directory of its own; it's deleted with the
    /// server.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// The router, to ask for what this type has no method for. After a restart it's another one.
    pub fn router(&self) -> Router {
        alive(self.life.borrow().as_ref()).router.clone()
    }

    /// Waits for `future` while the server runs.
    ///
    /// # Panics
    /// If it isn't done after a minute by the clock on the wall: then something waits for ever.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let life = self.life.borrow();
        let life = alive(life.as_ref());
        clock::paused::with(life.clock, || life.runtime.block_on(watched(future)))
    }

    /// Holds what the server serves against the file at `path`, below the crate's folder: a name, a
    /// schema, a default that changed by accident breaks callers.
    ///
    /// `UPDATE_SPECS=1 cargo test` writes the file, to be looked at and committed.
    ///
    /// # Panics
    /// If they differ, with each place that does; and if there's no file.
    pub fn assert_specs(&self, path: impl AsRef<Path>) {
        specs::assert(&self.router().operations(), path.as_ref());
    }

    fn accepted(&self, request: JobRequest) -> TestJob<'_> {
        let operation = request.operation.clone();
        self.request(request)
            .unwrap_or_else(|error| panic!("a job of `{operation}` was refused: {error}"))
    }

    /// Ends the life there is, however it stands, and begins another one.
    fn begin_again(&self) {
        if let Some(Life { router, runtime, clock }) = self.life.take() {
            if let Some((began, at)) = clock {
                let _entered = runtime.enter();
                self.ended.set(began.saturating_add(at.elapsed()).unwrap_or(began));
            }
            // With the runtime go its tasks, wherever they are; the last handle is ours.
            runtime.shutdown_background();
            drop(router);
        }
        self.store.reopen();
        match self.begin() {
            Ok(life) => self.life.replace(Some(life)),
            Err(error) => panic!("the server does not start again: {error}"),
        };
    }

    fn begin(&self) -> Result<Life, StartError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(self.setup.is_paused)
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"));
        let mut config = self.setup.config.clone();
        self.data_dir.path().clone_into(&mut config.data_dir);
        let fault = self.fault.clone();
        let store = FaultyStore::new(self.store.clone(), move |call| {
            let mut fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault(call)
        });
        let start = Router::start(config, self.setup.linked.clone(), Arc::new(store));
        let now = Timestamp::now().max(self.ended.get());
        let clock = {
            let _entered = runtime.enter();
            self.setup.is_paused.then(|| (now, Instant::now()))
        };
        let router = clock::paused::with(clock, || runtime.block_on(watched(start)))?;
        Ok(Life { router, runtime, clock })
    }
}

/// Ends the server as SIGTERM does, without a drain.
impl Drop for TestServer {
    fn drop(&mut self) {
        // A test that failed has said enough.
        if self.life.borrow().is_some() && !std::thread::panicking() {
            let router = self.router();
            self.block_on(async move { router.shutdown(Duration::ZERO).await });
        }
    }
}

impl TestServerBuilder {
    /// Of the plugins that are linked only these; operations that belong to no plugin stay.
    ///
    /// # Panics
    /// If one isn't linked.
    #[must_use]
    pub fn plugins(mut self, names: &[&str]) -> Self {
        let linked = &mut self.0.linked.plugins;
        for name in names {
            let known = || linked.iter().map(|plugin| plugin.name).collect::<Vec<_>>().join(", ");
            let is_linked = linked.iter().any(|plugin| plugin.name == *name);
            assert!(
                is_linked,
                "no plugin `{name}` is linked into this test; there are {}",
                known()
            );
        }
        linked.retain(|plugin| names.contains(&plugin.name));
        self
    }

    /// Nothing that is linked: only what is added by [`plugin`](Self::plugin) and
    /// [`handler`](Self::handler) from here on.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.0.linked = Linked::default();
        self
    }

    /// Adds a plugin that isn't linked.
    #[must_use]
    pub fn plugin(mut self, plugin: &'static PluginRegistration) -> Self {
        self.0.linked.plugins.push(plugin);
        self
    }

    /// Adds an operation that isn't linked, or one in a linked one's place.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn OperationHandler>) -> Self {
        self.0.linked.handlers.push(handler);
        self
    }

    /// Has `does` stand in for the operation `name`: a plugin that calls another's operations is
    /// tested without that other one.
    ///
    /// If the real one is linked, the fake has its spec, and so its input is checked as the real
    /// one's is. If not, it takes and returns anything.
    #[must_use]
    pub fn fake<F>(
        self,
        name: &str,
        does: impl Fn(Value, JobContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        let spec = self.spec(name).unwrap_or_else(|| OperationSpec::new(name, "A fake."));
        let does = Box::new(move |input, job| Box::pin(does(input, job)) as _);
        self.handler(Arc::new(Fake { spec, does }))
    }

    /// Sets a plugin's table of the configuration.
    #[must_use]
    pub fn config(mut self, plugin: &str, table: Value) -> Self {
        self.0.config.plugins.insert(plugin.to_owned(), table);
        self
    }

    /// Changes the limits of jobs.
    #[must_use]
    pub fn jobs(mut self, change: impl FnOnce(&mut JobsConfig)) -> Self {
        change(&mut self.0.config.jobs);
        self
    }

    /// Leaves out the operations whose names match, as `[operations] deny` does.
    #[must_use]
    pub fn deny(mut self, pattern: &str) -> Self {
        self.0.config.operations.deny.push(pattern.to_owned());
        self
    }

    /// Lets time pass as it does outside.
    #[must_use]
    pub fn real_time(mut self) -> Self {
        self.0.is_paused = false;
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// If it doesn't start.
    pub fn start(self) -> TestServer {
        self.try_start().unwrap_or_else(|error| panic!("the server does not start: {error}"))
    }

    /// Starts the server.
    ///
    /// # Errors
    /// Why it doesn't start.
    ///
    /// # Panics
    /// If the machine has no room for its data directory.
    pub fn try_start(self) -> Result<TestServer, StartError> {
        let data_dir = tempfile::Builder::new().prefix("skep-test-").tempdir();
        let server = TestServer {
            setup: self.0,
            store: Arc::new(MemoryStore::for_restarts(CAPACITY)),
            fault: Arc::new(Mutex::new(Box::new(|_| Fault::None))),
            data_dir: data_dir.unwrap_or_else(|error| panic!("no data directory: {error}")),
            life: RefCell::new(None),
            ended: Cell::new(Timestamp::MIN),
        };
        let life = server.begin()?;
        server.life.replace(Some(life));
        Ok(server)
    }

    /// The spec of a linked operation.
    fn spec(&self, name: &str) -> Option<OperationSpec> {
        let Linked { plugins, operations, .. } = &self.0.linked;
        let free = operations.iter().map(|operation| (operation.handler)().spec().clone());
        let specs = plugins.iter().flat_map(|plugin| (plugin.specs)());
        specs.chain(free).find(|spec| spec.name == name)
    }
}

fn alive(life: Option<&Life>) -> &Life {
    match life {
        Some(life) => life,
        None => panic!("the server is just being started again"),
    }
}

/// `future`, which fails the test if it hangs. By the clock on the wall: a paused one would jump.
async fn watched<T>(future: impl Future<Output = T>) -> T {
    let (late, is_late) = tokio::sync::oneshot::channel::<()>();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::Builder::new().name("patience".to_owned()).spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = late.send(());
        }
    });
    if watch.is_err() {
        return future.await;
    }
    tokio::select! {
        biased;
        result = future => {
            drop(done);
            result
        }
        Ok(()) = is_late => panic!("nothing came of it within {PATIENCE:?}"),
    }
}
