//! `skep up`: from a bare machine to a conversation.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use skep::job::End;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cli::chat::{Answers, Person, choose, converse, models};
use crate::cli::client::Client;
use crate::cli::follow::{Followed, OnInterrupt, watch};
use crate::cli::interrupt::unless_interrupted;
use crate::cli::printer::Printer;
use crate::cli::{Error, ServerArgs, suggestions};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to end: longer than it gives its jobs, by default.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// The same where nobody waits for its jobs any more.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// What a server says when it takes requests, before its address.
const LISTENING: &str = "listening on ";

#[derive(Args)]
pub(super) struct Up {
    /// The model: an id, a file, or where it's downloaded from (`hf:OWNER/REPO/FILE.gguf`, `https://...`);
    /// if absent, some that fit are proposed
    #[arg(long)]
    model: Option<String>,
    /// Where the server keeps what outlives it, if one has to be started [default: as `skep serve`]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    answers: Answers,
    #[command(flatten)]
    server: ServerArgs,
}

impl Up {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        // Before there is a server, which isn't left behind.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut started = None;
        tokio::select! {
            done = self.talk(&mut started) => return done,
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        // An answer that nobody reads isn't waited for.
        stop(&mut started, SHORT_PATIENCE).await;
        Ok(ExitCode::FAILURE)
    }

    /// The conversation, and the end of a server that was started for it.
    async fn talk(&self, started: &mut Option<Child>) -> Result<ExitCode, Error> {
        let done = match unless_interrupted(self.server(started)).await {
            Ok(url) => self.chat(&url).await,
            Err(error) => Err(error),
        };
        stop(started, STOP_PATIENCE).await;
        done
    }

    /// The URL of the server that answers, or of one that is `started`.
    async fn server(&self, started: &mut Option<Child>) -> Result<String, Error> {
        let url = &self.server.server;
        if Client::new(url)?.show::<Value>("/health").await.is_ok() {
            return Ok(url.clone());
        }
        let listen = url.trim_start_matches("http://").trim_end_matches('/');
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--listen".into(), listen.into()];
        if let Some(directory) = &self.data_dir {
            arguments.extend(["--data-dir".into(), directory.into()]);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for the answer; the server is told to stop when the conversation is over.
        command.process_group(0).kill_on_drop(true);
        let child = started.insert(command.spawn()?);
        let mut log = child.stderr.take().map(|log| BufReader::new(log).lines());
        let mut said = Vec::new();
        let listening = async {
            while let Some(line) = log.as_mut()?.next_line().await.ok()? {
                if let Some((_, url)) = line.split_once(LISTENING) {
                    return Some(url.trim_matches(['"', '}', ' ']).to_owned());
                }
                said.push(line);
            }
            None
        };
        let Ok(Some(url)) = timeout(PATIENCE, listening).await else {
            return Err(format!("the server has not started:\n{}", said.join("\n")).into());
        };
        // Read on, so that it can write on.
        tokio::spawn(async move {
            while let Some(Ok(Some(_))) = match &mut log {
                Some(log) => Some(log.next_line().await),
                None => None,
            } {}
        });
        Ok(url)
    }

    async fn chat(&self, url: &str) -> Result<ExitCode, Error> {
        let client = Client::new(url)?;
        let mut person = Person::new();
        let known = unless_interrupted(models(&client)).await?;
        let wanted = match &self.model {
            Some(model) => Some(model.clone()),
            None => choose(&known, &mut person).await?,
        };
        let wanted = match wanted {
            Some(wanted) => wanted,
            None => suggestions::ask(&client, &mut person)
                .await?
                .ok_or("no model was named: `skep up --model ...`")?,
        };
        let model = if known.contains(&wanted) { wanted } else { get(&client, &wanted).await? };
        run(&client, "model_load", json!({ "id": model })).await?;
        converse(&client, &model, &self.answers, &mut person).await
    }
}

/// Has the server get a model from a file or an address. Returns its id.
async fn get(client: &Client, from: &str) -> Result<String, Error> {
    let got = match std::path::absolute(from) {
        Ok(path) if path.is_file() => run(client, "model_import", json!({ "path": path })).await?,
        _ if from.contains(':') => run(client, "model_download", json!({ "model": from })).await?,
        _ => {
            let error = format!(
                "`{from}` is no model that the server has, no file, and no address \
                 (hf:OWNER/REPO/FILE.gguf, https://...)"
            );
            return Err(error.into());
        }
    };
    Ok(got["id"].as_str().unwrap_or_default().to_owned())
}

/// Runs an operation, shows how far it is, and returns its result.
async fn run(client: &Client, operation: &str, input: Value) -> Result<Value, Error> {
    let input: Map<String, Value> = serde_json::from_value(input)?;
    let id = unless_interrupted(client.create_job(operation, input, &[])).await?;
    match watch(client, id, Printer::quiet(), OnInterrupt::Cancel).await? {
        Followed::Ended(End::Succeeded { result }) => Ok(result),
        Followed::Ended(End::Failed { error }) => {
            Err(format!("{operation}: {} ({})", error.detail, error.code).into())
        }
        _ => Err(format!("{operation} was cancelled").into()),
    }
}

/// Tells the server that was started to stop, and once more if it hasn't in time, or at Ctrl-C: then it
/// ends at once.
async fn stop(started: &mut Option<Child>, patience: Duration) {
    let Some(server) = started else { return };
    for patience in [patience, SHORT_PATIENCE] {
        let pid = server.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(pid) = pid else { return };
        if kill_process(pid, Signal::TERM).is_err() {
            return;
        }
        if let Ok(Ok(_)) = timeout(patience, unless_interrupted(server.wait())).await {
            return;
        }
    }
    // It's killed with the child, which is dropped.
}
