//! The store `faulty`: the store `sqlite`, whose calls fail in bursts.

use std::sync::{Arc, Mutex, PoisonError};

use skep::Result;
use skep::plugin::{Linked, StoreContext, StoreRegistration};
use skep::store::Store;
use skep::testing::{Fault, FaultyStore, StoreCall};

/// The store behind it.
const STORE: &str = "sqlite";

/// How many calls fail in a row, at most.
const BURST: u64 = 12;

inventory::submit! {
    StoreRegistration {
        name: "faulty",
        summary: "The store `sqlite`, whose calls fail in bursts",
        package: skep::package!(),
        config_schema: skep::schema::input_schema::<Config>,
        open: |context| Box::pin(open(context)),
        check: |context| (sqlite().check)(behind(&context)),
        backup: |context, to| (sqlite().backup)(behind(&context), to),
    }
}

/// `[plugins.faulty]`.
#[skep::data]
#[derive(Default)]
#[serde(default)]
struct Config {
    /// How many calls there are between two bursts, about; none ever fails if it's 0.
    calls: u64,
    /// What the bursts are drawn from.
    seed: u64,
}

fn sqlite() -> &'static StoreRegistration {
    let linked = Linked::stores().into_iter().find(|store| store.name == STORE);
    linked.expect("main.rs links it")
}

fn behind(context: &StoreContext) -> StoreContext {
    let mut behind = StoreContext::new(STORE, &context.data_dir);
    behind.jobs = context.jobs.clone();
    behind
}

async fn open(context: StoreContext) -> Result<Arc<dyn Store>> {
    let config: Config = serde_json::from_value(context.config.clone())?;
    let store = (sqlite().open)(behind(&context)).await?;
    if config.calls == 0 {
        return Ok(store);
    }
    let bursts = Mutex::new(Bursts::new(&config));
    let fault = move |call| bursts.lock().unwrap_or_else(PoisonError::into_inner).next(call);
    Ok(Arc::new(FaultyStore::new(store, fault)))
}

/// When calls fail.
struct Bursts {
    rng: fastrand::Rng,
    calls: u64,
    /// How many calls are left to the next burst.
    until: u64,
    /// How many calls are left of this one.
    left: u64,
    fault: Fault,
}

impl Bursts {
    fn new(config: &Config) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let until = rng.u64(1..=2 * config.calls);
        Self { rng, calls: config.calls, until, left: 0, fault: Fault::None }
    }

    fn next(&mut self, call: StoreCall) -> Fault {
        // A start that fails is told to who starts the server; a sweep is tried again by itself.
        if matches!(call, StoreCall::Claim | StoreCall::Sweep) {
            return Fault::None;
        }
        if self.left == 0 {
            self.until -= 1;
            if self.until > 0 {
                return Fault::None;
            }
            self.until = self.rng.u64(1..=2 * self.calls);
            self.left = self.rng.u64(1..=BURST);
            self.fault = if self.rng.bool() { Fault::Fails } else { Fault::FailsLate };
        }
        self.left -= 1;
        println!("fault {:?}", self.fault);
        self.fault
    }
}
