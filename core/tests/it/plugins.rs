//! A plugin's life.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use skep::plugin::{
    Linked, OperationRegistration, Package, Plugin, PluginContext, PluginRegistration, Started,
};
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, OperationHandler, OperationSpec, Router, StartError};

use crate::support::{router_with, within};

/// What happened to the plugins of a test, by the key in their configuration.
static JOURNAL: LazyLock<Mutex<Map<String, Value>>> = LazyLock::new(Mutex::default);

fn note(key: &str, what: String) {
    let mut journal = JOURNAL.lock().unwrap();
    journal.entry(key).or_insert_with(|| json!([])).as_array_mut().unwrap().push(what.into());
}

fn journal(key: &str) -> Value {
    JOURNAL.lock().unwrap().get(key).cloned().unwrap_or_else(|| json!([]))
}

/// A plugin that does as its configuration says: `key` names the test, `does` what goes wrong.
struct Scripted {
    name: &'static str,
    key: String,
    does: String,
}

const fn scripted(name: &'static str, start: StartFn) -> PluginRegistration {
    PluginRegistration {
        name,
        summary: "",
        package: Package::new(name, "1.2.3"),
        after: &[],
        config_schema: || json!({ "type": "object" }),
        specs: Vec::new,
        start,
    }
}

type StartFn =
    fn(PluginContext<Value>) -> futures_util::future::BoxFuture<'static, Result<Started>>;

static FIRST: PluginRegistration = scripted("first", |cx| Box::pin(start("first", cx)));
static SECOND: PluginRegistration = scripted("second", |cx| Box::pin(start("second", cx)));
static THIRD: PluginRegistration = scripted("third", |cx| Box::pin(start("third", cx)));
static RIVAL: PluginRegistration = PluginRegistration {
    package: Package::new("rival", "4.5.6"),
    ..scripted("second", |cx| Box::pin(start("second", cx)))
};

async fn start(name: &'static str, cx: PluginContext<Value>) -> Result<Started> {
    let text = |field: &str| cx.config[field].as_str().unwrap_or_default().to_owned();
    let (key, does) = (text("key"), text("does"));
    note(&key, format!("start {name}"));
    match does.as_str() {
        "fail" => Err(OperationError::message("the disk is on fire")),
        "panic at start" => panic!("a bug"),
        "hang at start" => std::future::pending().await,
        _ => Ok(Started::new(Arc::new(Scripted { name, key, does }), vec![])),
    }
}

#[async_trait]
impl Plugin for Scripted {
    async fn shutdown(&self) {
        note(&self.key, format!("shutdown {}", self.name));
        match self.does.as_str() {
            "panic at shutdown" => panic!("a bug"),
            "hang at shutdown" => std::future::pending().await,
            _ => {}
        }
    }

    async fn health(&self) -> Health {
        match self.does.as_str() {
            "be ill" => Health::Unhealthy("no disk".to_owned()),
            "panic when asked" => panic!("a bug"),
            "hang when asked" => std::future::pending().await,
            _ => Health::Healthy,
        }
    }
}

/// Starts `first`, `second` and `third`, of which `second` does what `does` says.
async fn start_three(key: &str, does: &str) -> Result<Router, StartError> {
    let mut config = Config::default();
    for name in ["first", "second", "third"] {
        let does = if name == "second" { does } else { "" };
        config.plugins.insert(name.to_owned(), json!({ "key": key, "does": does }));
    }
    start_linked(config, &[&FIRST, &SECOND, &THIRD], &[]).await
}

async fn start_linked(
    config: Config,
    plugins: &[&'static PluginRegistration],
    operations: &[&'static OperationRegistration],
) -> Result<Router, StartError> {
    let mut linked = Linked::default();
    linked.plugins.extend(plugins);
    linked.operations.extend(operations);
    let store = MemoryStore::new(1 << 20);
    within(Router::start(config, linked, Arc::new(store))).await
}

#[tokio::test]
async fn plugins_start_in_order_and_shut_down_in_reverse() {
    let router = start_three("order", "").await.unwrap();
    router.shutdown(Duration::ZERO).await;
    let all = ["start first", "start second", "start third"];
    let down = ["shutdown third", "shutdown second", "shutdown first"];
    assert_eq!(journal("order"), json!([all, down].concat()));
    router.shutdown(Duration::ZERO).await;
    assert_eq!(journal("order").as_array().unwrap().len(), 6, "each is shut down once");
}

static IN_A_CIRCLE: PluginRegistration =
    PluginRegistration { after: &["b-name"], ..scripted("a-name", |_| unreachable!()) };
static THE_OTHER: PluginRegistration =
    PluginRegistration { after: &["a-name"], ..scripted("b-name", |_| unreachable!()) };

#[tokio::test]
async fn a_plugin_starts_after_those_that_it_names() {
    static LATE: PluginRegistration = PluginRegistration {
        after: &["third", "absent"],
        ..scripted("a-name", |cx| Box::pin(start("a-name", cx)))
    };
    let mut config = Config::default();
    for name in ["a-name", "third"] {
        config.plugins.insert(name.to_owned(), json!({ "key": "after" }));
    }
    start_linked(config, &[&LATE, &THIRD], &[]).await.unwrap();
    assert_eq!(journal("after"), json!(["start third", "start a-name"]));
}

#[tokio::test]
async fn a_plugin_that_is_not_enabled_needs_no_configuration_and_is_in_no_circle() {
    static DEMANDING: PluginRegistration = PluginRegistration {
        config_schema: || json!({ "required": ["url"] }),
        after: &["b-name"],
        ..scripted("a-name", |cx| Box::pin(start("a-name", cx)))
    };
    let mut config = Config::default();
    config.plugins.insert("a-name".to_owned(), json!({ "enabled": false }));
    config.plugins.insert("b-name".to_owned(), json!({ "enabled": false }));
    start_linked(config, &[&DEMANDING, &THE_OTHER], &[]).await.unwrap();
}

#[tokio::test]
async fn plugins_that_start_after_each_other_are_refused() {
    let error = start_linked(Config::default(), &[&IN_A_CIRCLE, &THE_OTHER], &[]).await;
    assert_eq!(
        error.err().unwrap().to_string(),
        "plugins start after each other in a circle: a-name -> b-name -> a-name; take one `after` \
         out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_names_the_plugin_and_shuts_the_started_ones_down() {
    let cases = [
        ("fail", "the disk is on fire"),
        ("panic at start", "it panicked"),
        ("hang at start", "it took longer than 60s"),
    ];
    for (does, why) in cases {
        let error =
            match tokio::time::timeout(Duration::from_mins(10), start_three(does, does)).await {
                Ok(Err(error)) => error.to_string(),
                _ => panic!("`{does}` doesn't fail"),
            };
        assert_eq!(error, format!("plugin `second` (second 1.2.3) did not start: {why}"));
        assert_eq!(journal(does), json!(["start first", "start second", "shutdown first"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_shut_down_does_not_keep_the_others_from_it() {
    for does in ["panic at shutdown", "hang at shutdown"] {
        let router = start_three(does, does).await.unwrap();
        router.shutdown(Duration::ZERO).await;
        assert_eq!(journal(does)[5], "shutdown first");
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_told_by_plugin() {
    let cases = [
        ("", None),
        ("be ill", Some("no disk")),
        ("panic when asked", Some("it panicked when it was asked")),
        ("hang when asked", Some("no answer within 10s")),
    ];
    for (does, why) in cases {
        let router = start_three(&format!("health {does}"), does).await.unwrap();
        let ill = why.map_or(Health::Healthy, |why| Health::Unhealthy(why.to_owned()));
        let expected = [("first", Health::Healthy), ("second", ill), ("third", Health::Healthy)];
        assert_eq!(router.health().await, expected);
    }
}

#[tokio::test]
async fn two_plugins_of_one_name_are_refused_before_anything_starts() {
    let mut config = Config::default();
    config.plugins.insert("second".to_owned(), json!({ "key": "twice" }));
    let error = start_linked(config, &[&FIRST, &SECOND, &RIVAL], &[]).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin `second` is registered twice, by second 1.2.3 and by rival 4.5.6: leave one of \
         the two crates out"
    );
    assert_eq!(journal("twice"), json!([]));
}

struct Idle(OperationSpec);

#[async_trait]
impl OperationHandler for Idle {
    fn spec(&self) -> &OperationSpec {
        &self.0
    }

    async fn handle(&self, _: Value, _: &JobContext) -> Result<Value> {
        Ok(Value::Null)
    }
}

fn idle(name: &str, change: impl FnOnce(&mut OperationSpec)) -> Arc<dyn OperationHandler> {
    let mut spec = OperationSpec::new(name, "Do nothing.");
    change(&mut spec);
    Arc::new(Idle(spec))
}

const fn registration(name: &'static str, handler: HandlerFn) -> OperationRegistration {
    OperationRegistration { package: Package::new(name, "1.0.0"), handler }
}

type HandlerFn = fn() -> Arc<dyn OperationHandler>;

static ONE: OperationRegistration = registration("one", || idle("rest", |_| {}));
static OTHER: OperationRegistration = registration("other", || idle("rest", |_| {}));

#[tokio::test]
async fn two_operations_of_one_name_are_refused() {
    let error = start_linked(Config::default(), &[], &[&ONE, &OTHER]).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "operation `rest` is registered twice, by one 1.0.0 and by other 1.0.0: leave one of the \
         two crates out"
    );
}

#[tokio::test]
async fn an_operation_that_can_not_be_served_is_refused() {
    static NAME: OperationRegistration = registration("bad", || idle("Rest", |_| {}));
    static SCHEMA: OperationRegistration = registration("bad", || {
        idle("rest", |spec| spec.input_schema = json!({ "type": "no such type" }))
    });
    static PLACES: OperationRegistration =
        registration("bad", || idle("rest", |spec| spec.limits.max_concurrency = Some(0)));
    static RETRY: OperationRegistration = registration("bad", || {
        let retry = skep::operation::Retry::new(2, Duration::ZERO);
        idle("rest", |spec| spec.limits.retry = Some(retry))
    });
    for (registration, reason) in [
        (&RETRY, "`retry` is for idempotent operations only"),
        (&NAME, "its name is not snake_case"),
        (&SCHEMA, "its input's schema is none"),
        (&PLACES, "it would never run"),
    ] {
        let error = start_linked(Config::default(), &[], &[registration]).await.err().unwrap();
        let error = error.to_string();
        assert!(error.contains("bad 1.0.0") && error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_table_for_a_plugin_that_is_not_linked_is_refused() {
    let mut config = Config::default();
    config.plugins.insert("secnod".to_owned(), json!({}));
    let error = start_linked(config, &[&FIRST, &SECOND], &[]).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "[plugins.secnod] configures a plugin that is not linked, did you mean `second`?"
    );
}

/// How the plugin `configured` is set up.
#[skep::data]
#[serde(default)]
struct Settings {
    port: u16,
    name: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { port: 80, name: None }
    }
}

struct Configured(PluginContext<Settings>);

/// A plugin with a configuration.
#[skep::plugin(name = "configured", config = Settings)]
impl Configured {
    async fn start(cx: PluginContext<Settings>) -> Result<Self> {
        Ok(Self(cx))
    }

    async fn health(&self) -> Health {
        Health::Unhealthy(format!("port {}", self.0.config.port))
    }

    /// Tell the settings.
    #[operation(read_only)]
    async fn configured_settings(&self) -> Result<(u16, Option<String>, bool)> {
        let Settings { port, name } = &self.0.config;
        Ok((*port, name.clone(), self.0.data_dir()?.ends_with("configured")))
    }
}

/// A plugin without a start, a configuration or anything else.
#[derive(Default)]
struct Bare;

#[skep::plugin(name = "bare")]
impl Bare {
    /// Return nothing.
    #[operation]
    async fn bare_nothing(&self) -> Result<()> {
        Ok(())
    }
}

async fn refused(table: Value) -> String {
    let mut config = Config::default();
    config.plugins.insert("configured".to_owned(), table);
    let store = Arc::new(MemoryStore::new(1 << 20));
    Router::start(config, Linked::all(), store).await.err().unwrap().to_string()
}

#[tokio::test]
async fn a_plugin_gets_its_table_typed_and_with_defaults() {
    let cases = [
        (json!({}), json!([80, null, true])),
        (json!({ "port": 8080, "name": "a" }), json!([8080, "a", true])),
    ];
    for (table, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let router = router_with(|config| {
            config.data_dir = dir.path().to_owned();
            config.plugins.insert("configured".to_owned(), table);
        })
        .await;
        let settings = within(router.call("configured_settings", json!({}))).await.unwrap();
        assert_eq!(settings, expected);
        within(router.call("bare_nothing", json!({}))).await.unwrap();
        let health = router.health().await;
        let ill = Health::Unhealthy(format!("port {}", expected[0]));
        assert!(
            health.contains(&("bare", Health::Healthy)) && health.contains(&("configured", ill))
        );
    }
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_all_that_is_wrong() {
    let error = refused(json!({ "prot": 1, "name": 5 })).await;
    assert!(
        error.starts_with("plugin `configured`: [plugins.configured] does not fit: "),
        "{error}"
    );
    assert!(error.contains("/prot is not a field, did you mean `port`?"), "{error}");
    assert!(error.contains("/name 5 is not of type"), "{error}");
    let error = refused(json!({ "port": 70_000 })).await;
    assert!(error.contains("/port 70000 is greater than the maximum of 65535"), "{error}");
    assert!(refused(json!(5)).await.contains("5 is not of type"));
}
