//! How many instructions it takes: counts that a busy machine doesn't change.
//!
//! `cargo run --release --bin gate` runs this, and holds the counts against those that are stored. It
//! needs valgrind, and `gungraun-runner` of gungraun's version.

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use skep::JobRequest;
use skep::job::JobId;
use skep_bench_micro::{FEW, Skep, tokens, waiting};

/// What comes with the first jobs alone isn't measured: so many have been by then.
const WARM: usize = 20;

/// How many times a short work is counted. What the allocator does for one alone goes by all that was
/// allocated before, of which the length of a path on this machine is part.
const TIMES: usize = 100;

/// What a benchmark was given it gives back, so that dropping it isn't measured.
type Done = (Skep, usize);

fn warm(operations: usize) -> Skep {
    let skep = Skep::in_memory(operations);
    for _ in 0..WARM {
        skep.create(waiting());
        let id = skep.run(tokens(1_000));
        skep.read(id);
    }
    skep
}

fn with_request(request: JobRequest) -> (Skep, JobRequest) {
    (warm(FEW), request)
}

fn with_requests(request: JobRequest) -> (Skep, Vec<JobRequest>) {
    (warm(FEW), vec![request; TIMES])
}

fn with_names(operations: usize) -> (Skep, Vec<String>) {
    let skep = warm(operations);
    let specs = skep.router.operations();
    let names = specs.iter().map(|spec| spec.name.clone()).cycle().step_by(7).take(1_000);
    (skep, names.collect())
}

fn with_log(events: u32) -> (Skep, JobId) {
    let skep = warm(FEW);
    let id = skep.run(tokens(events));
    (skep, id)
}

// A job that emits so many tokens of 12 bytes, which nobody reads.
#[library_benchmark(setup = with_request)]
#[bench::events_1000(tokens(1_000))]
#[bench::events_11000(tokens(11_000))]
fn emit((skep, request): (Skep, JobRequest)) -> (Skep, JobId) {
    let id = skep.run(request);
    (skep, id)
}

// The same, with a reader who is there from the start.
#[library_benchmark(setup = with_request)]
#[bench::events_1000(tokens(1_000))]
#[bench::events_11000(tokens(11_000))]
fn stream((skep, request): (Skep, JobRequest)) -> Done {
    let length = skep.stream(request);
    (skep, length)
}

// 1,000 lookups.
#[library_benchmark(setup = with_names)]
#[bench::among_10(10)]
#[bench::among_10000(10_000)]
fn lookup((skep, names): (Skep, Vec<String>)) -> (Skep, Vec<String>, usize) {
    let found = names.iter().filter(|name| skep.router.operation(name).is_ok()).count();
    (skep, names, found)
}

// Jobs with an input of three fields, each until its client has the answer.
#[library_benchmark(setup = with_requests)]
#[bench::with_3_fields(waiting())]
fn create_job((skep, requests): (Skep, Vec<JobRequest>)) -> (Skep, usize) {
    let created = requests.into_iter().map(|request| skep.create(request)).count();
    (skep, created)
}

// Jobs with three events, each from its request to the end of its stream.
#[library_benchmark(setup = with_requests)]
#[bench::with_3_events(tokens(3))]
fn whole_job((skep, requests): (Skep, Vec<JobRequest>)) -> Done {
    let whole = |request| skep.read(skep.create(request));
    let length = requests.into_iter().map(whole).sum();
    (skep, length)
}

// A log that is read to its end, again and again.
#[library_benchmark(setup = with_log)]
#[bench::events_10000(10_000)]
fn read_frames((skep, id): (Skep, JobId)) -> Done {
    let length = (0..TIMES).map(|_| skep.read(id)).sum();
    (skep, length)
}

library_benchmark_group!(
    name = instructions;
    benchmarks = emit, stream, lookup, create_job, whole_job, read_frames
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = instructions
);

/// Time and chance, the same in every run: in place of the C library's.
///
/// Under valgrind the clock goes fifty times as fast as the work is done, and differently each time;
/// by this one, whatever is due by the clock (that a handler makes way, that a log is flushed) is due
/// at the same event. The branches that `select!` looks at first are the same, too.
#[allow(unsafe_code, reason = "a function of the C library is replaced by one of its name")]
mod sources {
    use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

    /// As `struct timespec` is on 64-bit Linux.
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    /// What passes from one look at the clock to the next, ns: a handler looks every 8 events, which
    /// take about as long.
    const STEP: i64 = 1_000;

    /// Of every clock, ns. It begins in September 2001.
    static NOW: AtomicI64 = AtomicI64::new(1_000_000_000_000_000_000);

    static NEXT_BYTE: AtomicU8 = AtomicU8::new(1);

    // SAFETY: the name and the signature are POSIX's, and so is what it promises: a time that doesn't
    // go back.
    #[unsafe(no_mangle)]
    extern "C" fn clock_gettime(_clock: i32, time: &mut Timespec) -> i32 {
        let now = NOW.fetch_add(STEP, Ordering::Relaxed);
        *time = Timespec { seconds: now / 1_000_000_000, nanoseconds: now % 1_000_000_000 };
        0
    }

    // SAFETY: the name and the signature are Linux's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
        for at in 0..length {
            // SAFETY: the caller's buffer is so long.
            unsafe { buffer.add(at).write(NEXT_BYTE.fetch_add(1, Ordering::Relaxed)) };
        }
        length.cast_signed()
    }
}
