//! `skep store`: what an operator does with a store. It reads the configuration that `skep serve`
//! reads, and needs no server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::{Error, print_line};
use crate::config::{Config, FileArgs, PlaceFlags};
use crate::store::ChosenStore;

#[derive(Args)]
pub(super) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Look for damage, and change nothing
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Copy everything, also while a server runs
    Backup {
        /// The directory to copy into, which isn't there yet
        directory: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the store is.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    flags: PlaceFlags,
}

impl Store {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let done = match self.action {
            Action::Check { place } => {
                let store = place.store()?;
                format!("{}: {}", store.name(), store.check().await?)
            }
            Action::Backup { directory, place } => {
                let store = place.store()?;
                format!("{}: {}", store.name(), store.backup(&directory).await?)
            }
        };
        print_line(done)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn store(&self) -> Result<ChosenStore, Error> {
        Ok(ChosenStore::of(&mut Config::load(&self.file, &self.flags)?)?)
    }
}
