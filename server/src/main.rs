//! The stock build of Skep: its list of plugins is all there is to it.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use {
    skep_author as _, skep_exec as _, skep_hive as _, skep_infer as _, skep_model as _,
    skep_sqlite as _, skep_system as _, skep_worker as _,
};

/// A job is many small allocations, of which some are freed on other threads and some live for days.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    skep_server::main()
}
