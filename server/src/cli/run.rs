//! `skep run`: a job from the command line.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::follow::{OnInterrupt, follow};
use crate::cli::printer::Printer;
use crate::cli::{Error, ServerArgs, input, print_line};

#[derive(Args)]
pub(super) struct Run {
    /// The operation's name
    operation: String,
    /// Its input: one JSON object, or fields
    #[arg(value_name = "JSON | FIELD=VALUE")]
    input: Vec<String>,
    /// Print every event as a line of JSON
    #[arg(long, conflicts_with = "detach")]
    json: bool,
    /// Print the job's id, and leave the job to itself
    #[arg(long)]
    detach: bool,
    /// The longest the job may run, such as `30s`
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Which jobs it goes before where jobs have to wait
    #[arg(long, value_parser = ["low", "normal", "high"])]
    priority: Option<String>,
    /// When it starts: a time such as `2030-01-31T08:00:00Z`, or one from now such as `+10m`
    #[arg(long = "run-at", value_name = "TIME")]
    at: Option<String>,
    /// An idempotency key: the same key and input again is the same job, for a day
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl Run {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        let spec: Value = client.show(&format!("/v1/operations/{}", self.operation)).await?;
        let input = input::parse(&self.input, &spec["input_schema"])?;
        let id = client.create_job(&self.operation, input, &self.headers()).await?;
        if self.detach {
            print_line(id)?;
            return Ok(ExitCode::SUCCESS);
        }
        follow(&client, id, Printer::new(self.json), OnInterrupt::Cancel).await
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        let headers = [
            ("skep-timeout", &self.timeout),
            ("skep-priority", &self.priority),
            ("skep-run-at", &self.at),
            ("idempotency-key", &self.key),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}
