//! `skep jobs`: the jobs of a server.

mod table;

use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use skep::JobId;
use skep::job::JobSummary;

use crate::cli::client::Client;
use crate::cli::follow::{OnInterrupt, follow};
use crate::cli::printer::Printer;
use crate::cli::{Error, ServerArgs, print_line};

/// The most jobs that a server gives at once.
const MAX_PAGE: usize = 500;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Jobs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Args)]
struct List {
    /// Only jobs in this state, or in one of several: `queued,running`
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only jobs of this operation
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// How many jobs at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one())]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Stream a job from its first event on; Ctrl-C leaves it alone
    Watch(Streamed),
    /// Cancel a job, and wait for its end
    Cancel(One),
    /// Make a job of the same operation and input, and stream it
    Retry(Streamed),
    /// Print all that is known of a job, as JSON
    Show(One),
}

#[derive(Args)]
struct One {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args)]
struct Streamed {
    #[command(flatten)]
    one: One,
    /// Print every event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// An answer of `GET /v1/jobs`.
#[derive(Deserialize)]
struct Page {
    jobs: Vec<JobSummary>,
    next_cursor: Option<JobId>,
}

impl Jobs {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        match self.action {
            None => self.list.run().await,
            Some(Action::Watch(streamed)) => streamed.watch().await,
            Some(Action::Cancel(one)) => one.cancel().await,
            Some(Action::Retry(streamed)) => streamed.retry().await,
            Some(Action::Show(one)) => one.show().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<ExitCode, Error> {
        let jobs = self.jobs(&Client::new(&self.server.server)?).await?;
        if self.json {
            print_line(format_args!("{:#}", json!(jobs)))?;
        } else if !jobs.is_empty() {
            print_line(table::render(&jobs, Timestamp::now()).trim_end())?;
        } else if self.state.is_none() && self.operation.is_none() {
            print_line("There are no jobs.")?;
        } else {
            print_line("There are no such jobs.")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn jobs(&self, client: &Client) -> Result<Vec<JobSummary>, Error> {
        let mut jobs = Vec::new();
        let mut cursor = None;
        while jobs.len() < self.limit {
            let page: Page = client.show(&self.path(self.limit - jobs.len(), cursor)).await?;
            jobs.extend(page.jobs);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(jobs)
    }

    fn path(&self, limit: usize, cursor: Option<JobId>) -> String {
        let mut query = form_urlencoded::Serializer::new("/v1/jobs?".to_owned());
        query.append_pair("limit", &limit.min(MAX_PAGE).to_string());
        for (name, value) in [("state", &self.state), ("operation", &self.operation)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if let Some(cursor) = cursor {
            query.append_pair("cursor", &cursor.to_string());
        }
        query.finish()
    }
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

impl One {
    async fn cancel(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        let in_time = client.cancel(self.id).await?;
        let job = client.ended(self.id).await?;
        let state = job["state"].as_str().unwrap_or_default();
        if !in_time {
            return Err(format!("the job has ended before: {state}").into());
        }
        print_line(state)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn show(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        print_line(format_args!("{:#}", client.job(self.id).await?))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Streamed {
    async fn watch(self) -> Result<ExitCode, Error> {
        let One { id, server } = self.one;
        let client = Client::new(&server.server)?;
        // A server or a job that isn't there is told at once; only later it may be an outage.
        client.job(id).await?;
        follow(&client, id, Printer::new(self.json), OnInterrupt::Leave).await
    }

    async fn retry(self) -> Result<ExitCode, Error> {
        let One { id, server } = self.one;
        let client = Client::new(&server.server)?;
        let mut job = client.job(id).await?;
        if !job["ended_at"].is_string() {
            let state = job["state"].as_str().unwrap_or_default();
            let hint =
                format!("`skep jobs watch {id}` follows it, `skep jobs cancel {id}` ends it");
            return Err(format!("the job hasn't ended, it's {state}: {hint}").into());
        }
        let (Value::String(operation), Value::Object(input)) =
            (job["operation"].take(), job["input"].take())
        else {
            return Err(format!("job {id} has no input that can be sent again").into());
        };
        let id = client.create_job(&operation, input, &[]).await?;
        let mut printer = Printer::new(self.json);
        printer.note(&format!("job {id}"))?;
        follow(&client, id, printer, OnInterrupt::Cancel).await
    }
}
