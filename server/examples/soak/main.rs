//! A soak test: a server is killed, starved, locked out and moved through time, again and again,
//! while many clients use it, and then everything that it promised is looked up.
//!
//! ```text
//! ./x soak [MINUTES] [--seed N]
//! ```
//!
//! One program is both sides. `soak drive` is the driver: it starts itself as the server under test
//! (`soak serve`), talks HTTP to it, and keeps a ledger of what it was told. `soak figures` measures the
//! same server where nothing troubles it: `./x figures`.
//!
//! The server's side:
//!
//! - `operations.rs`: jobs of all kinds
//! - `faulty.rs`: a store whose calls fail
//!
//! The driver's:
//!
//! - `driver.rs`: the run, from its seed to its verdict; `incarnation.rs`: what one server goes through
//! - `server.rs`: the server as a process; `place.rs`: the disk that it's on, which can fill up
//! - `order.rs`: which jobs are asked for, and how each may end
//! - `load.rs`: the clients that ask for them; `reader.rs`: those that read; `client.rs`: their HTTP
//! - `listing.rs`: the list of jobs, page by page
//! - `ledger.rs`: what clients and handlers saw
//! - `verify.rs`: what is kept, held against the ledger; `log.rs`: one job's log
//! - `report.rs`: the numbers
//! - `figures.rs`: what durability costs

mod client;
mod driver;
mod faulty;
mod figures;
mod incarnation;
mod ledger;
mod listing;
mod load;
mod log;
mod operations;
mod order;
mod place;
mod reader;
mod report;
mod server;
mod verify;

use std::io::Read;
use std::process::ExitCode;

use {skep_sqlite as _, skep_system as _};

/// Why a run can't go on.
type Error = Box<dyn std::error::Error + Send + Sync>;

type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("drive") => return driver::main(),
        Some("figures") => return figures::main(),
        Some("serve") => die_with_driver(),
        _ => {}
    }
    skep_server::main()
}

/// Ends the server when the driver is gone, however that ended: it holds the other side of our
/// standard input.
fn die_with_driver() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
}
