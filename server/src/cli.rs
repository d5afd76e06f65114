//! The command line: a file a command.

mod chat;
mod client;
mod config;
mod events;
mod follow;
mod input;
mod interrupt;
mod jobs;
mod operations;
mod plugins;
mod printer;
mod run;
mod serve;
mod sse;
mod status;
mod store;
mod suggestions;
mod up;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, value_parser};
use skep::plugin::{CommandRegistration, Linked};

use crate::cli::interrupt::{INTERRUPTED, Interrupted};

/// An open router for operations.
#[derive(Parser)]
#[command(name = "skep", version)]
struct Cli {
    #[command(subcommand)]
    command: BuiltIn,
}

#[derive(Subcommand)]
enum BuiltIn {
    /// Serve the operations that are linked into this program
    Serve(serve::Serve),
    /// Run an operation on a server, and stream what it does
    Run(run::Run),
    /// List the jobs of a server, or watch, cancel, retry or show one
    Jobs(jobs::Jobs),
    /// Get a model and talk with it: starts a server if none runs
    Up(up::Up),
    /// Talk with a model
    Chat(chat::Chat),
    /// Show a server's hives with their workers and models, and how many jobs there are
    Status(status::Status),
    /// List the operations of a server, or show one
    Operations(operations::Operations),
    /// Check the configuration, show it, or print its schema
    Config(config::Config),
    /// List the plugins that are linked into this program
    Plugins(plugins::Plugins),
    /// Check a server's store, or back it up
    Store(store::Store),
}

/// The exit code of a program whose reader went away, as shells have it.
const BROKEN_PIPE: u8 = 141;

/// Which server a command talks to.
#[derive(Args)]
struct ServerArgs {
    /// The server's URL
    #[arg(long, value_name = "URL", env = "SKEP_URL", default_value = "http://127.0.0.1:7833")]
    server: String,
}

/// The whole program: parses the command line and runs the command.
///
/// `skep --help` tells what there is. Commands that plugins contribute are there too.
///
/// Returns the exit code: 0 for success (of `run`: the job succeeded), 1 for a failure, 2 for a
/// command line that can't be understood.
pub fn main() -> ExitCode {
    let contributed = Linked::commands();
    let matches = with_contributed(&contributed).get_matches();
    if let Some((name, arguments)) = matches.subcommand()
        && let Some(command) = contributed.iter().find(|command| command.name == name)
    {
        return (command.run)(rest(arguments));
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        BuiltIn::Serve(serve) => serve.run(),
        BuiltIn::Run(run) => block_on(run.run()),
        BuiltIn::Jobs(jobs) => block_on(jobs.run()),
        BuiltIn::Up(up) => block_on(up.run()),
        BuiltIn::Chat(chat) => block_on(chat.run()),
        BuiltIn::Status(status) => block_on(status.run()),
        BuiltIn::Operations(operations) => block_on(operations.run()),
        BuiltIn::Config(config) => config.run(),
        BuiltIn::Plugins(plugins) => plugins.run(),
        BuiltIn::Store(store) => block_on(store.run()),
    };
    done.unwrap_or_else(|error| {
        // `skep jobs | head` has read what it wanted.
        if is_broken_pipe(&error) {
            return BROKEN_PIPE.into();
        }
        if error.is::<Interrupted>() {
            return INTERRUPTED.into();
        }
        // Where nobody can be told, it's a failure all the same; `eprintln!` would panic.
        let _ = writeln!(io::stderr(), "skep: {}", with_causes(&*error));
        ExitCode::FAILURE
    })
}

/// A command's error: it's told to a person and ends the program.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether it's our own output that can't be written: a connection's error comes in one of its own.
fn is_broken_pipe(error: &Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error with its causes, as far as it doesn't tell them itself.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

/// Prints `text` and a line's end. `println!` would panic when nobody reads any more.
fn print_line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// The command line with the plugins' commands, which take their arguments as they come.
fn with_contributed(commands: &[&'static CommandRegistration]) -> Command {
    use clap::CommandFactory;
    commands.iter().fold(Cli::command(), |cli, command| {
        let arguments = Arg::new("arguments")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
            .value_parser(value_parser!(OsString));
        let about = Command::new(command.name).about(command.summary);
        cli.subcommand(about.arg(arguments).disable_help_flag(true))
    })
}

fn rest(matches: &ArgMatches) -> Vec<OsString> {
    matches.get_many("arguments").into_iter().flatten().cloned().collect()
}

/// Runs a client's command: one thread is enough.
fn block_on<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // A line that is still read for isn't waited for.
    runtime.shutdown_background();
    done
}
