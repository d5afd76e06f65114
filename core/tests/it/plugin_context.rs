//! What a plugin has of the server that it's in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep::plugin::{
    OperationSet, Package, Plugin, PluginContext, PluginRegistration, RouterHandle, Started,
};
use skep::prelude::*;
use skep::testing::TestServer;
use skep::{JobRequest, OperationHandler, OperationSpec, StartError, Value, json};

use crate::support::within;

/// An operation that returns a number.
struct Constant {
    spec: OperationSpec,
    number: u64,
}

#[skep::async_trait]
impl OperationHandler for Constant {
    fn spec(&self) -> &OperationSpec {
        &self.spec
    }

    async fn handle(&self, _: Value, job: &JobContext) -> Result<Value> {
        job.emit(&self.number).await?;
        Ok(self.number.into())
    }
}

fn constant(name: &str, number: u64) -> Arc<dyn OperationHandler> {
    let mut spec = OperationSpec::new(name, "Return a number.");
    spec.limits.max_concurrency = Some(1);
    Arc::new(Constant { spec, number })
}

/// What the plugin `changing` has: the test reaches it by this, on the thread that both run on.
#[derive(Clone, Default)]
struct Reach {
    operations: Arc<Mutex<Option<OperationSet>>>,
    router: Arc<Mutex<Option<RouterHandle>>>,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

thread_local!(static REACH: Reach = Reach::default());

fn reach() -> Reach {
    REACH.with(Clone::clone)
}

fn operations() -> OperationSet {
    reach().operations.lock().unwrap().clone().unwrap()
}

struct Changing(Reach);

#[skep::async_trait]
impl Plugin for Changing {
    async fn shutdown(&self) {
        self.0.notes.lock().unwrap().push("shutdown");
    }
}

static CHANGING: PluginRegistration = PluginRegistration {
    name: "changing",
    summary: "",
    package: Package::new("changing", "1.0.0"),
    after: &[],
    config_schema: || json!({}),
    specs: Vec::new,
    start: |cx| Box::pin(async move { start(&cx) }),
};

fn start(cx: &PluginContext<Value>) -> Result<Started> {
    let reach = reach();
    assert!(cx.router().router().is_none(), "there's no router before all plugins have started");
    cx.operations().replace(vec![constant("first", 1)])?;
    *reach.operations.lock().unwrap() = Some(cx.operations().clone());
    *reach.router.lock().unwrap() = Some(cx.router().clone());
    let (notes, router, shutdown) = (reach.notes.clone(), cx.router().clone(), cx.shutdown());
    cx.spawn(async move {
        let Some(router) = router.started().await else {
            return notes.lock().unwrap().push("there is no router");
        };
        assert!(router.call("first", json!({})).await.is_ok());
        drop(router);
        notes.lock().unwrap().push("the task has called");
        shutdown.requested().await;
        notes.lock().unwrap().push("the task has stopped");
    });
    match cx.config["task"].as_str() {
        Some("start fails") => return Err(OperationError::message("it can't be")),
        Some("panics") => cx.spawn(async { panic!("a bug") }),
        Some("hangs") => cx.spawn(std::future::pending()),
        _ => {}
    }
    Ok(Started::new(Arc::new(Changing(reach)), vec![]))
}

fn server(task: &str) -> TestServer {
    let builder = TestServer::builder().empty().plugin(&CHANGING);
    builder.config("changing", json!({ "task": task })).start()
}

fn names(server: &TestServer) -> Vec<String> {
    server.router().operations().iter().map(|spec| spec.name.clone()).collect()
}

#[test]
fn operations_come_and_go_while_the_server_runs() {
    let server = server("");
    assert_eq!(names(&server), ["first"]);
    operations().replace(vec![constant("first", 2), constant("second", 3)]).unwrap();
    assert_eq!(server.call("first", json!({})), Ok(json!(2)));
    assert_eq!(server.call("second", json!({})), Ok(json!(3)));
    operations().replace(vec![]).unwrap();
    assert!(names(&server).is_empty());
    assert_eq!(server.call("first", json!({})).unwrap_err().code, "unknown-operation");
}

#[test]
fn a_job_finishes_with_the_handler_that_it_began_with() {
    let server = server("");
    let old = server.create_until("first", json!({}), 2);
    operations().replace(vec![constant("first", 2)]).unwrap();
    let new = server.create("first", json!({}));
    server.advance(Duration::from_secs(1));
    assert_eq!(new.record().state.as_str(), "queued", "both share the operation's one place");
    old.release();
    assert_eq!((old.result(), new.result()), (json!(1), json!(2)));
}

#[test]
fn a_set_that_can_not_be_served_changes_nothing() {
    let server = server("");
    let error = operations().replace(vec![constant("second", 3), constant("Bad", 4)]).unwrap_err();
    assert!(matches!(error, StartError::InvalidSpec { .. }), "{error}");
    assert_eq!(names(&server), ["first"]);
}

#[test]
fn a_refused_set_changes_no_limit_either() {
    let server = server("");
    let held = server.create_until("first", json!({}), 2);
    let mut spec = OperationSpec::new("first", "Return a number.");
    spec.limits.max_concurrency = Some(9);
    let wider = Arc::new(Constant { spec, number: 1 });
    operations().replace(vec![wider, constant("Bad", 4)]).unwrap_err();
    let waits = server.create("first", json!({}));
    server.advance(Duration::from_secs(1));
    assert_eq!(waits.record().state.as_str(), "queued", "there's still one place");
    held.release();
    assert_eq!(waits.result(), 1);
}

#[test]
fn a_job_that_waits_for_an_operation_goes_on_after_a_restart() {
    let server = server("");
    let job = server.create_until("first", json!({}), 1);
    server.crash();
    // It isn't idempotent, and had begun.
    assert_eq!(job.problem().code, "interrupted");
}

#[test]
fn background_tasks_have_the_router_and_end_before_the_plugin() {
    let notes = reach().notes;
    let server = server("");
    server.advance(Duration::from_secs(1));
    assert_eq!(*notes.lock().unwrap(), ["the task has called"]);
    let handle = reach().router.lock().unwrap().clone().unwrap();
    assert!(handle.router().is_some());
    drop(server);
    assert_eq!(*notes.lock().unwrap(), ["the task has called", "the task has stopped", "shutdown"]);
    assert!(handle.router().is_none(), "the handle keeps nothing alive");
}

#[test]
fn a_background_task_that_panics_makes_its_plugin_ill() {
    let server = server("panics");
    server.advance(Duration::from_secs(1));
    let router = server.router();
    let health = server.block_on(async move { router.health().await });
    let ill = Health::Unhealthy("one of its background tasks panicked".to_owned());
    assert_eq!(health, [("changing", ill)]);
}

#[test]
fn a_background_task_that_does_not_stop_is_dropped() {
    let notes = reach().notes;
    drop(server("hangs"));
    assert_eq!(notes.lock().unwrap().last(), Some(&"shutdown"));
}

#[test]
fn a_task_that_waits_for_a_router_which_never_comes_is_told() {
    let builder = TestServer::builder().empty().plugin(&CHANGING);
    assert!(builder.config("changing", json!({ "task": "start fails" })).try_start().is_err());
    assert_eq!(*reach().notes.lock().unwrap(), ["there is no router"]);
}

#[test]
fn a_router_that_is_dropped_takes_the_tasks_along() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut linked = skep::plugin::Linked::default();
        linked.plugins.push(&CHANGING);
        let store = Arc::new(skep::store::MemoryStore::new(1 << 20));
        let router = skep::Router::start(skep::Config::default(), linked, store).await.unwrap();
        let stopped = reach().notes;
        // Its task waits for the signal by now.
        within(async {
            while stopped.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(router);
        *reach().operations.lock().unwrap() = None;
        within(async {
            while stopped.lock().unwrap().last() != Some(&"the task has stopped") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_plugin_that_is_not_enabled_is_not_there() {
    let builder = TestServer::builder().empty().plugin(&CHANGING);
    let server = builder.config("changing", json!({ "enabled": false })).start();
    assert!(names(&server).is_empty());
    assert!(server.request(JobRequest::new("first", json!({}))).is_err());
}

#[test]
fn whatever_is_wrong_with_the_configuration_is_told_at_once() {
    let error = TestServer::builder()
        .plugins(&["configured"])
        .config("configured", json!({ "prot": 1, "enabled": "yes" }))
        .config("configurd", json!({}))
        .try_start()
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "[plugins.configurd] configures a plugin that is not linked, did you mean `configured`?\n\
         plugin `configured`: [plugins.configured] does not fit: /prot is not a field, did you mean \
         `port`?; /enabled is true or false"
    );
}
