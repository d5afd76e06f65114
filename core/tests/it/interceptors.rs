//! What stands around every execution.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use skep::job::{Caller, JobRecord, JobRequest, JobState};
use skep::plugin::{Linked, Package, Plugin, PluginContext, PluginRegistration, Started};
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::testing::TestServer;
use skep::{Config, Execution, Interceptor, OperationSpec, Router, Value, json};

/// Greet as the interceptor says, or panic.
#[skep::operation(idempotent)]
async fn greet(name: String, job: &JobContext) -> Result<String> {
    assert_ne!(name, "nobody", "there's nobody to greet");
    let greeting = job.extension::<&'static str>().map_or("Hi", |greeting| *greeting);
    job.emit(&name).await?;
    Ok(format!("{greeting}, {name}"))
}

/// Shout a name, for other operations only.
#[skep::operation(hidden, idempotent)]
async fn greet_loudly(name: String, job: &JobContext) -> Result<String> {
    job.emit(&name.to_uppercase()).await?;
    Ok(name.to_uppercase())
}

/// Tell on which thread it runs.
#[skep::operation(hidden, idempotent)]
async fn thread_name() -> Result<String> {
    Ok(std::thread::current().name().unwrap_or_default().to_owned())
}

/// Greet by another operation.
#[skep::operation]
async fn greet_by_call(name: String, job: &JobContext) -> Result<String> {
    job.call("greet", json!({ "name": name })).await
}

/// An interceptor that notes what it's asked, and does as the name in the input says.
struct Around {
    name: &'static str,
    notes: Arc<Mutex<Vec<String>>>,
}

/// What the interceptors of the thread's server have noted: each test has a thread of its own.
fn notes() -> Arc<Mutex<Vec<String>>> {
    thread_local!(static NOTES: Arc<Mutex<Vec<String>>> = Arc::default());
    NOTES.with(Clone::clone)
}

fn noted() -> Vec<String> {
    std::mem::take(&mut *notes().lock().unwrap())
}

impl Around {
    fn note(&self, what: String) {
        self.notes.lock().unwrap().push(what);
    }
}

impl Plugin for Around {}

#[skep::async_trait]
impl Interceptor for Around {
    async fn accept(&self, request: &JobRequest, operation: &OperationSpec) -> Result<()> {
        self.note(format!("{} accept {}", self.name, operation.name));
        match (self.name, request.input["name"].as_str()) {
            ("outer", Some("Eve")) => Err(OperationError::new("over-quota", "Eve has had enough")
                .with_status(429)
                .with_retry_after(Duration::from_secs(7))),
            ("outer", Some("panic")) => panic!("a bug"),
            ("outer", Some("hang")) => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn before(&self, execution: &mut Execution) -> Result<()> {
        self.note(format!("{} before {}", self.name, execution.operation().name));
        let name = execution.input()["name"].as_str().unwrap_or_default().to_owned();
        match (self.name, name.as_str()) {
            ("outer", "polite") => execution.insert("Good morning"),
            ("outer", "loud") => {
                execution.reroute("greet_loudly", json!({ "name": "loud" }))?;
            }
            ("outer", "wrong") => {
                execution.reroute("greet_loudly", json!({ "nam": 1 }))?;
            }
            ("outer", "thread") => {
                execution.reroute("thread_name", json!({}))?;
            }
            ("outer", "unsafe") => {
                execution.reroute("greet_by_call", json!({ "name": "x" }))?;
            }
            ("outer", "watched") => {
                let mut frames = execution.frames();
                let notes = self.notes.clone();
                tokio::spawn(async move {
                    let mut bytes = 0;
                    while let Ok(Some(more)) = frames.next().await {
                        bytes += more.len();
                    }
                    notes.lock().unwrap().push(format!("watched {bytes} bytes"));
                });
            }
            ("inner", "refused") => return Err(OperationError::new("no-greeting", "not today")),
            ("inner", "broken") => panic!("a bug"),
            ("inner", "ponder") => std::future::pending().await,
            _ => {}
        }
        Ok(())
    }

    async fn after(&self, job: &JobRecord) {
        self.note(format!("{} after {}", self.name, job.state.as_str()));
        if let JobState::Succeeded(result) = &job.state
            && result.get().contains("bug after")
        {
            panic!("a bug");
        }
    }
}

const fn around(name: &'static str, start: StartFn) -> PluginRegistration {
    PluginRegistration {
        name,
        summary: "",
        package: Package::new(name, "1.0.0"),
        after: &[],
        config_schema: || json!({}),
        specs: Vec::new,
        start,
    }
}

type StartFn = fn(PluginContext<Value>) -> BoxFuture<'static, Result<Started>>;

// By their names `inner` would start first.
static OUTER: PluginRegistration = around("outer", |_| start("outer"));
static INNER: PluginRegistration =
    PluginRegistration { after: &["outer"], ..around("inner", |_| start("inner")) };

fn start(name: &'static str) -> BoxFuture<'static, Result<Started>> {
    let around = Arc::new(Around { name, notes: notes() });
    let started = Started::new(around.clone(), Vec::new()).with_interceptor(around);
    Box::pin(std::future::ready(Ok(started)))
}

fn server() -> TestServer {
    TestServer::builder().plugins(&[]).plugin(&INNER).plugin(&OUTER).start()
}

#[test]
fn interceptors_are_asked_in_order_and_told_in_reverse() {
    let server = server();
    assert_eq!(server.run("greet", json!({ "name": "Ada" })).result(), "Hi, Ada");
    assert_eq!(
        noted(),
        [
            "outer accept greet",
            "inner accept greet",
            "outer before greet",
            "inner before greet",
            "inner after succeeded",
            "outer after succeeded",
        ]
    );
}

#[test]
fn a_refused_job_is_none() {
    let server = server();
    let refused = server.request(JobRequest::new("greet", json!({ "name": "Eve" }))).err().unwrap();
    let problem = refused.problem();
    assert_eq!((&*problem.code, problem.status), ("over-quota", 429));
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(noted(), ["outer accept greet"]);
    assert_eq!(server.router().job_counts().live, 0);
}

#[test]
fn an_interceptor_that_is_broken_lets_nothing_through() {
    let server = server();
    for name in ["panic", "hang"] {
        let refused = server.call("greet", json!({ "name": name })).unwrap_err();
        assert_eq!(refused.code, "internal", "{name}");
    }
}

#[test]
fn an_attempt_that_is_being_prepared_is_cancelled_and_runs_out_of_time() {
    let server = server();
    let job = server.create("greet", json!({ "name": "ponder" }));
    server.advance(Duration::from_secs(1));
    job.cancel();
    let mut request = JobRequest::new("greet", json!({ "name": "ponder" }));
    request.timeout = Some(Duration::from_secs(5));
    assert_eq!(server.request(request).unwrap().problem().code, "timeout");
}

#[test]
fn what_is_wrong_anyway_is_not_asked_for() {
    let server = server();
    let refused = server.call("greet", json!({ "nam": "Ada" })).unwrap_err();
    assert_eq!(refused.code, "invalid-input");
    assert!(noted().is_empty());
}

#[test]
fn a_handler_gets_what_an_interceptor_gave_it() {
    let server = server();
    let job = server.run("greet", json!({ "name": "polite" }));
    assert_eq!(job.result(), "Good morning, polite");
}

#[test]
fn a_job_is_rerouted_and_stays_what_it_was() {
    let server = server();
    let job = server.run("greet", json!({ "name": "loud" }));
    assert_eq!((job.outputs(), job.result()), (vec![json!("LOUD")], json!("LOUD")));
    assert_eq!(&*job.record().operation, "greet");
    assert!(noted().contains(&"inner before greet_loudly".to_owned()));
    let wrong = server.run("greet", json!({ "name": "wrong" }));
    assert_eq!(wrong.problem().code, "invalid-input");
    // It would be run again after a crash, which the other operation must not be.
    let unsafe_one = server.run("greet", json!({ "name": "unsafe" }));
    assert!(unsafe_one.problem().detail.contains("is not"), "{:?}", unsafe_one.problem());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerouted_job_runs_where_that_other_operation_may() {
    let mut linked = Linked::all();
    linked.plugins = vec![&OUTER];
    let store = Arc::new(MemoryStore::new(1 << 20));
    let router = Router::start(Config::default(), linked, store).await.unwrap();
    let greet = |name| router.call("greet", json!({ "name": name }));
    // Its own handler comes back to the runtime promptly.
    assert_eq!(greet("Ada").await.unwrap(), "Hi, Ada");
    // Of the other one nothing is known yet.
    assert_eq!(greet("thread").await.unwrap(), "skep-handler");
    assert_eq!(greet("thread").await.unwrap(), "tokio-rt-worker");
}

#[test]
fn errors_and_panics_before_an_execution_are_the_jobs() {
    let server = server();
    for (name, code) in [("refused", "no-greeting"), ("broken", "panic"), ("nobody", "panic")] {
        assert_eq!(server.run("greet", json!({ "name": name })).problem().code, code);
        let ends: Vec<_> = noted().into_iter().filter(|note| note.contains("after")).collect();
        assert_eq!(ends, ["inner after failed", "outer after failed"], "{name}");
    }
}

#[test]
fn a_panic_after_the_end_changes_nothing() {
    let server = server();
    assert_eq!(server.run("greet", json!({ "name": "bug after" })).result(), "Hi, bug after");
    assert_eq!(server.run("greet", json!({ "name": "Ada" })).result(), "Hi, Ada");
}

#[test]
fn called_jobs_are_intercepted_and_say_who_called() {
    let server = server();
    server.run("greet_by_call", json!({ "name": "Ada" })).result();
    let asked: Vec<_> = noted().into_iter().filter(|note| note.starts_with("outer acc")).collect();
    assert_eq!(asked, ["outer accept greet_by_call", "outer accept greet"]);
}

#[test]
fn the_stream_is_observed_in_the_bytes_that_readers_get() {
    let server = server();
    let job = server.run("greet", json!({ "name": "watched" }));
    let router = server.router();
    let id = job.id();
    let read = server.block_on(async move {
        let mut frames = router.execute_job(id, 0).await.unwrap().into_frames();
        let mut bytes = 0;
        while let Some(more) = frames.next().await.unwrap() {
            bytes += more.len();
        }
        bytes
    });
    server.advance(Duration::from_secs(1));
    assert!(noted().contains(&format!("watched {read} bytes")), "{read}");
}

#[test]
fn a_repeated_request_is_not_asked_for_again() {
    let server = server();
    let mut request = JobRequest::new("greet", json!({ "name": "Ada" }));
    request.caller = Caller::Client(Some("ada".into()));
    request.idempotency_key = Some("k".to_owned());
    let first = server.request(request.clone()).unwrap().id();
    assert_eq!(server.request(request.clone()).unwrap().id(), first);
    // Another client's key of the same name is another key.
    request.caller = Caller::Client(Some("bea".into()));
    assert_ne!(server.request(request).unwrap().id(), first);
    let asked = noted().iter().filter(|note| *note == "outer accept greet").count();
    assert_eq!(asked, 2);
}

#[test]
fn each_attempt_is_prepared_and_the_end_told_once() {
    let server = server();
    let job = server.create_until("greet", json!({ "name": "Ada" }), 2);
    server.crash();
    assert_eq!(job.result(), "Hi, Ada");
    let count = |what: &str, notes: &[String]| notes.iter().filter(|note| *note == what).count();
    let notes = noted();
    assert_eq!(count("outer accept greet", &notes), 1, "{notes:?}");
    assert_eq!(count("outer before greet", &notes), 2, "{notes:?}");
    assert_eq!(count("outer after succeeded", &notes), 1, "{notes:?}");
}
