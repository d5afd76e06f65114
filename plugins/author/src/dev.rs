//! `skep dev`: a server that is rebuilt when its plugin changes.
//!
//! The socket is this command's own and each server gets it as its standard input, so a client that
//! comes between two servers waits instead of being refused. The old server goes on until the new
//! one is built; the data is theirs one after the other.

mod recipe;
mod server;
mod watch;

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use self::recipe::Recipe;
use self::server::{Seat, Server};
use self::watch::Watch;
use crate::Tool;
use crate::source::SourceArgs;

/// Serve the plugin in this directory, and rebuild it when it changes.
///
/// The server has the plugin, the system family and the SQLite store, reads `skep.toml` if there is
/// one, and keeps its data in target/skep-dev/data, from one build to the next. Jobs that run get a
/// second to finish when the server is replaced; `SKEP_SERVER__DRAIN` changes that.
#[derive(Parser)]
#[command(name = "dev", bin_name = "skep dev")]
pub(crate) struct Dev {
    /// Address to listen on
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7833")]
    listen: SocketAddr,
    #[command(flatten)]
    source: SourceArgs,
    /// More arguments of `skep serve`, after `--`
    #[arg(last = true, value_name = "ARGUMENT")]
    serve: Vec<OsString>,
}

impl Tool for Dev {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let recipe = Recipe::of(&std::env::current_dir()?, self.source.open()?)?;
        let socket = TcpListener::bind(self.listen)
            .map_err(|error| format!("can't listen on {}: {error}", self.listen))?;
        eprintln!(
            "skep dev: building `{}`; http://{} answers once it's built",
            recipe.plugin,
            socket.local_addr()?
        );
        let seat = Seat::new(socket, &recipe, self.serve);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let served = runtime.block_on(serve(&Arc::new(recipe), &seat));
        // A build that goes on is not waited for: Cargo has heard Ctrl-C too, or ends when it finds
        // that nobody reads what it says.
        runtime.shutdown_background();
        served
    }
}

/// Builds, serves and watches until Ctrl-C or SIGTERM.
async fn serve(recipe: &Arc<Recipe>, seat: &Seat) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(stop_signal()?);
    let mut watch = Watch::new()?;
    watch.follow(&[&recipe.directory])?;
    let mut server: Option<Server> = None;
    'served: loop {
        let begun = Instant::now();
        let recipe = recipe.clone();
        let built = tokio::select! {
            // An error that is only told comes over as its words.
            built = spawn_blocking(move || recipe.build().map_err(|it| it.to_string())) => built?,
            () = &mut stop => break,
        };
        match built {
            Ok(built) => {
                watch.follow(&built.sources)?;
                // A change that the program has nothing of, as a test's, replaces nothing.
                if server.as_ref().is_none_or(|server| server.edition != built.edition) {
                    eprintln!("skep dev: built in {:.1} s", begun.elapsed().as_secs_f64());
                    if let Some(old) = server.take() {
                        old.stop().await;
                    }
                    server = Some(seat.start(built)?);
                }
            }
            Err(error) if server.is_some() => {
                eprintln!("skep dev: {error}; the old server goes on");
            }
            Err(error) => eprintln!("skep dev: {error}; waiting for a change"),
        }
        let mut changed = pin!(watch.changed());
        loop {
            tokio::select! {
                () = &mut changed => break,
                () = &mut stop => break 'served,
                exit = ended(server.as_mut()) => {
                    eprintln!("skep dev: the server has ended ({exit}); waiting for a change");
                    server = None;
                }
            }
        }
    }
    if let Some(server) = server {
        server.stop().await;
    }
    Ok(())
}

/// How the server has ended, once it has.
async fn ended(server: Option<&mut Server>) -> String {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

/// Returns a future that waits for Ctrl-C or SIGTERM.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
