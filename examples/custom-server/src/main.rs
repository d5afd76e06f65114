//! A server of one's own: the plugins one picks, and nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use {skep_hello as _, skep_system as _};

/// What the stock build has, too: a server that is busy takes less with it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    skep_server::main()
}
