//! `skep new`: a crate from a template.

use std::error::Error;

use clap::Parser;

use crate::Tool;

/// Write a plugin or a server, ready to build, test and run.
#[derive(Parser)]
#[command(name = "new", bin_name = "skep new")]
pub(crate) struct New {}

impl Tool for New {
    fn run(self) -> Result<(), Box<dyn Error>> {
        Err("`skep new` is not written yet".into())
    }
}
