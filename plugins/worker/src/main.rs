//! The worker process alone: what `skep worker` is, without the server.

use std::process::ExitCode;

use skep::plugin::Linked;
use skep_worker as _;

fn main() -> ExitCode {
    let commands = Linked::commands();
    let worker = commands.iter().find(|command| command.name == "worker");
    (worker.expect("the library is linked").run)(std::env::args_os().skip(1).collect())
}
