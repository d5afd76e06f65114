//! The suite that a store has to pass: what [`crate::store`] promises, tried from outside.
//!
//! A store's test file is a [`Fixture`] and one line. Each case becomes a test of its own, in a
//! module that its subject names: `conformance::claim::each_job_is_claimed_once_the_oldest_first`.
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use skep::store::{MemoryStore, Store};
//! use skep::testing::store::Fixture;
//!
//! struct Memory(Arc<MemoryStore>);
//!
//! #[async_trait]
//! impl Fixture for Memory {
//!     async fn open(&mut self) -> Arc<dyn Store> {
//!         self.0.reopen();
//!         self.0.clone()
//!     }
//! }
//!
//! skep::testing::store_conformance!(Memory(Arc::new(MemoryStore::new(1 << 30))));
//! # fn main() {}
//! ```
//!
//! The suite doesn't kill the process that it runs in. That a store keeps what it has said to keep
//! when it isn't closed at all is left for its author to try.

#[doc(hidden)]
pub mod cases;
mod sample;

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::job::{JobId, JobRecord};
use crate::store::{Accepted, Claimed, JobQuery, Retention, Store, Sweep};

/// How long a case may take, so that a fault fails it and doesn't hang it.
const LIMIT: Duration = Duration::from_mins(2);

/// The place where one store lives, empty at first: a new directory, a new server's address.
///
/// Each case gets a fixture of its own, and drops it after the store.
#[async_trait]
pub trait Fixture: Send + 'static {
    /// Opens the store: the first time a new one, after that as if the process had died and begun
    /// anew, with all that was kept.
    ///
    /// Nobody has the store any more that was opened before. One that is told of a process's death
    /// only after a while waits for that here: the jobs that haven't ended can be claimed.
    async fn open(&mut self) -> Arc<dyn Store>;
}

/// Makes a test of every case of the suite, for the store of a
/// [`Fixture`](crate::testing::store::Fixture).
///
/// It takes the expression that makes a fixture; every test evaluates it anew, in an async function.
/// The tests stand in a module `conformance` beside the call, each on a runtime of its own.
/// [`testing::store`](crate::testing::store) has a whole example.
#[macro_export]
#[doc(hidden)]
macro_rules! __store_conformance {
    ($fixture:expr $(,)?) => {
        async fn __store_fixture() -> impl $crate::testing::store::Fixture {
            $fixture
        }

        mod conformance {
            $crate::__store_cases! { $crate::__store_tests }
        }
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __store_tests {
    ($($subject:ident { $($case:ident)* })*) => {
        $(mod $subject {
            $(#[test]
            fn $case() {
                $crate::testing::store::run(
                    super::super::__store_fixture(),
                    $crate::testing::store::cases::$case,
                );
            })*
        })*
    };
}

/// Runs one case.
#[doc(hidden)]
pub fn run(fixture: impl Future<Output = impl Fixture>, case: impl AsyncFnOnce(TestStore)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let case = async { case(TestStore::open(Box::new(fixture.await)).await).await };
        timeout(LIMIT, case).await.unwrap_or_else(|_| panic!("it takes longer than {LIMIT:?}"));
    });
}

/// The store that a case tries.
#[doc(hidden)]
pub struct TestStore {
    store: Arc<dyn Store>,
    fixture: Box<dyn Fixture>,
}

impl Deref for TestStore {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl TestStore {
    async fn open(mut fixture: Box<dyn Fixture>) -> Self {
        Self { store: fixture.open().await, fixture }
    }

    /// As if the process had died and begun anew.
    async fn reopen(self) -> Self {
        let Self { store, fixture } = self;
        drop(store);
        Self::open(fixture).await
    }

    /// For a task of its own, which must have ended before the store is opened again.
    fn share(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Accepts a job that must be new.
    async fn take(&self, job: &JobRecord) {
        assert_eq!(self.accept(job).await.unwrap(), Accepted::New);
    }

    /// Accepts jobs that must be new, in their order.
    async fn take_all(&self, jobs: &[JobRecord]) {
        for job in jobs {
            self.take(job).await;
        }
    }

    /// A job's record, in all its fields, is this.
    async fn assert_kept(&self, expected: &JobRecord) {
        let kept = self.job(expected.id).await.unwrap().expect("the job is known");
        assert_same(&kept, expected);
    }

    /// Claims all that can be claimed, `limit` at a time.
    async fn claim_all(&self, limit: usize) -> Vec<Claimed> {
        claim_all(&*self.store, limit).await
    }

    /// Sweeps until nothing is left to forget. Returns the number of steps.
    async fn sweep_all(&self, keep: &Retention) -> usize {
        let mut steps = 1;
        while self.sweep(keep).await.unwrap() == Sweep::More {
            steps += 1;
            assert!(steps < 10_000, "the sweep doesn't end");
        }
        steps
    }

    /// The ids of the jobs that `query` finds.
    async fn ids(&self, query: &JobQuery) -> Vec<JobId> {
        self.list(query).await.unwrap().iter().map(|job| job.id).collect()
    }
}

async fn claim_all(store: &dyn Store, limit: usize) -> Vec<Claimed> {
    let mut all = Vec::new();
    loop {
        let claimed = store.claim(limit).await.unwrap();
        assert!(claimed.len() <= limit, "{} are claimed, not {limit}", claimed.len());
        if claimed.is_empty() {
            return all;
        }
        all.extend(claimed);
        assert!(all.len() < 10_000, "jobs are claimed again and again");
        yield_now().await;
    }
}

/// Compares what `Debug` shows: every field, also one that comes later.
#[track_caller]
fn assert_same<T: Debug>(kept: &T, expected: &T) {
    let (kept, expected) = (format!("{kept:#?}"), format!("{expected:#?}"));
    assert!(kept == expected, "kept is:\n{kept}\nexpected was:\n{expected}");
}
