//! `skep dev`: a server that is rebuilt when its plugin changes.

use std::error::Error;

use clap::Parser;

use crate::Tool;

/// Serve the plugin in this directory, and rebuild it when it changes.
#[derive(Parser)]
#[command(name = "dev", bin_name = "skep dev")]
pub(crate) struct Dev {}

impl Tool for Dev {
    fn run(self) -> Result<(), Box<dyn Error>> {
        Err("`skep dev` is not written yet".into())
    }
}
