//! A server that has it, and keeps its jobs in SQLite.

use {compare_skep as _, skep_sqlite as _};

fn main() -> std::process::ExitCode {
    skep_server::main()
}
