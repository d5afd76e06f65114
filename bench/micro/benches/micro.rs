//! How long it takes, on one thread and without HTTP: `cargo bench --bench micro --features timed`.
//!
//! Where a row has items, they are events: its item/s are what is to be read.

#![allow(clippy::wildcard_imports, reason = "a group of benchmarks is a module, by divan's way")]

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use skep::JobRequest;
use skep::schema::InputSchema;
use skep_bench_micro::{FEW, Skep, documents, import, tokens};
use skep_sqlite::SqliteStore;

/// How many operations are served: the time of what looks one up must not grow with them.
const OPERATIONS: [usize; 2] = [10, 10_000];

fn main() {
    divan::main();
}

/// A job that emits `events` times, per event. Nobody reads it.
mod emit {
    use super::*;

    #[divan::bench]
    fn token_of_12_bytes(bencher: Bencher<'_, '_>) {
        run(bencher, &tokens(100_000), 100_000);
    }

    #[divan::bench]
    fn object_of_1_kb(bencher: Bencher<'_, '_>) {
        run(bencher, &documents(10_000), 10_000);
    }

    fn run(bencher: Bencher<'_, '_>, request: &JobRequest, events: usize) {
        let skep = Skep::in_memory(FEW);
        bencher
            .counter(ItemsCount::new(events))
            .with_inputs(|| request.clone())
            .bench_local_values(|request| skep.run(request));
    }
}

/// Finding an operation by its name.
#[divan::bench(args = OPERATIONS)]
fn lookup(bencher: Bencher<'_, '_>, operations: usize) {
    let skep = Skep::in_memory(operations);
    let specs = skep.router.operations();
    let mut names = specs.iter().map(|spec| spec.name.as_str()).cycle().step_by(7);
    bencher
        .with_inputs(|| names.next().unwrap_or_default())
        .bench_local_values(|name| skep.router.operation(black_box(name)).is_ok());
}

/// A whole job, from its request to its end, that emits nothing.
#[divan::bench(args = OPERATIONS)]
fn create_job(bencher: Bencher<'_, '_>, operations: usize) {
    let skep = Skep::in_memory(operations);
    bencher.with_inputs(|| tokens(0)).bench_local_values(|request| skep.run(request));
}

/// A whole job with three events, from its request to the end of its stream.
#[divan::bench]
fn whole_job(bencher: Bencher<'_, '_>) {
    let skep = Skep::in_memory(FEW);
    bencher.with_inputs(|| tokens(3)).bench_local_values(|request| {
        let id = skep.create(request);
        skep.read(id)
    });
}

/// Holding an input against its operation's schema.
mod validate {
    use super::*;

    #[divan::bench]
    fn small(bencher: Bencher<'_, '_>) {
        check(bencher, &tokens(3));
    }

    #[divan::bench]
    fn small_with_an_error(bencher: Bencher<'_, '_>) {
        let mut request = tokens(3);
        request.input["temperature"] = 2.5.into();
        check(bencher, &request);
    }

    #[divan::bench]
    fn large_of_1_mb(bencher: Bencher<'_, '_>) {
        check(bencher, &import(1_000));
    }

    #[divan::bench]
    fn large_of_1_mb_with_an_error(bencher: Bencher<'_, '_>) {
        let mut request = import(1_000);
        request.input["documents"][999]["title"] = 7.into();
        check(bencher, &request);
    }

    fn check(bencher: Bencher<'_, '_>, request: &JobRequest) {
        let spec = Skep::in_memory(FEW).router.operation(&request.operation);
        let spec = spec.expect("an operation of the benchmark");
        let schema = InputSchema::compile(&spec.input_schema).expect("a schema");
        bencher.bench_local(|| schema.check(black_box(&request.input)).is_ok());
    }
}

/// A log of 100,000 events that is read to its end, per event.
mod read {
    use super::*;

    const EVENTS: u32 = 100_000;

    #[divan::bench]
    fn ended_in_memory(bencher: Bencher<'_, '_>) {
        replay(bencher, &Skep::in_memory(FEW));
    }

    #[divan::bench]
    fn ended_in_sqlite(bencher: Bencher<'_, '_>) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(dir.path()).expect("a store");
        replay(bencher, &Skep::on(Arc::new(store), FEW));
    }

    fn replay(bencher: Bencher<'_, '_>, skep: &Skep) {
        let id = skep.run(tokens(EVENTS));
        bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| skep.read(id));
    }

    /// With their emission, by a reader that waits for them.
    #[divan::bench]
    fn as_it_grows(bencher: Bencher<'_, '_>) {
        let skep = Skep::in_memory(FEW);
        bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| skep.stream(tokens(EVENTS)));
    }
}
