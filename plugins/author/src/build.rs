//! `skep build`: a server from the plugins that are asked for.

use std::error::Error;

use clap::Parser;

use crate::Tool;

/// Build a server from the plugins that are asked for.
#[derive(Parser)]
#[command(name = "build", bin_name = "skep build")]
pub(crate) struct Build {}

impl Tool for Build {
    fn run(self) -> Result<(), Box<dyn Error>> {
        Err("`skep build` is not written yet".into())
    }
}
