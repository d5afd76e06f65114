//! `skep chat`: a conversation with a model, in the terminal.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use skep::job::End;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use crate::cli::client::Client;
use crate::cli::follow::{Followed, OnInterrupt, watch};
use crate::cli::interrupt::{Interrupted, unless_interrupted};
use crate::cli::printer::Printer;
use crate::cli::{Error, ServerArgs};

/// What a person is told before the first question.
const HELP: &str = "an empty line is nothing; /new begins anew, /exit or Ctrl-D ends";

#[derive(Args)]
pub(super) struct Chat {
    /// The model's id; asked for if there are several
    model: Option<String>,
    #[command(flatten)]
    answers: Answers,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is asked for beside the question.
#[derive(Args)]
pub(super) struct Answers {
    /// The most tokens of an answer: a small model may find no end by itself
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: u32,
}

impl Chat {
    pub(super) async fn run(self) -> Result<ExitCode, Error> {
        let client = Client::new(&self.server.server)?;
        let mut person = Person::new();
        let model = match self.model {
            Some(model) => model,
            None => choose(&models(&client).await?, &mut person).await?.ok_or(
                "there is no model yet: `skep up --model ...` gets one, or `skep run model_download`",
            )?,
        };
        converse(&client, &model, &self.answers, &mut person).await
    }
}

/// Who types.
pub(super) struct Person {
    lines: Lines<BufReader<Stdin>>,
    is_there: bool,
}

impl Person {
    pub(super) fn new() -> Self {
        let lines = BufReader::new(tokio::io::stdin()).lines();
        Self { lines, is_there: io::stdin().is_terminal() }
    }

    /// Whether it's a person, who sees what is told, and not a program.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Tells something, if someone reads it.
    pub(super) fn tell(&self, line: &str) -> io::Result<()> {
        if self.is_there { writeln!(io::stderr(), "{line}") } else { Ok(()) }
    }

    /// Asks for a line; `None` at the end of all lines. Ctrl-C instead of one ends the program.
    pub(super) async fn ask(&mut self, prompt: &str) -> Result<Option<String>, Error> {
        if self.is_there {
            write!(io::stderr(), "{prompt}")?;
            io::stderr().flush()?;
        }
        let line = unless_interrupted(self.lines.next_line()).await;
        if !matches!(line, Ok(Some(_))) {
            self.tell("")?;
        }
        Ok(line?.map(|line| line.trim().to_owned()))
    }
}

/// The models of the server and of its hives, by their ids.
pub(super) async fn models(client: &Client) -> Result<Vec<String>, Error> {
    let status = client.call("status", &json!({})).await?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let models = list(&status["hives"]).into_iter().flat_map(|hive| list(&hive["models"]));
    let ids = models.filter_map(|model| model["id"].as_str().map(str::to_owned));
    Ok(ids.collect::<BTreeSet<_>>().into_iter().collect())
}

/// One of the models, as the person says; `None` if there is none.
pub(super) async fn choose(
    models: &[String],
    person: &mut Person,
) -> Result<Option<String>, Error> {
    if models.len() < 2 {
        return Ok(models.first().cloned());
    }
    let all = models.join(", ");
    if !person.is_there {
        return Err(format!("there are several models, name one: {all}").into());
    }
    loop {
        let Some(wanted) = person.ask(&format!("Which model ({all})? ")).await? else {
            return Err("no model was named".into());
        };
        if models.contains(&wanted) {
            return Ok(Some(wanted));
        }
        let known = models.iter().map(String::as_str);
        if let Some(near) = skep::nearest(&wanted, known) {
            person.tell(&format!("did you mean `{near}`?"))?;
        }
    }
}

/// Asks and answers until the person has had enough.
pub(super) async fn converse(
    client: &Client,
    model: &str,
    answers: &Answers,
    person: &mut Person,
) -> Result<ExitCode, Error> {
    person.tell(&format!("{model}: {HELP}"))?;
    let mut messages = Vec::new();
    while let Some(line) = person.ask("> ").await? {
        match line.as_str() {
            "" => continue,
            "/exit" => break,
            "/new" => {
                messages.clear();
                continue;
            }
            _ => messages.push(json!({ "role": "user", "content": line })),
        }
        let mut input = Map::new();
        input.insert("model".to_owned(), model.into());
        input.insert("max_tokens".to_owned(), answers.max_tokens.into());
        input.insert("messages".to_owned(), messages.clone().into());
        let id = unless_interrupted(client.create_job("infer", input, &[])).await?;
        match watch(client, id, Printer::new(false), OnInterrupt::Cancel).await? {
            Followed::Ended(End::Succeeded { result }) => {
                messages.push(json!({ "role": "assistant", "content": result["text"] }));
            }
            // Why has been told; the question stays unasked.
            Followed::Ended(End::Failed { .. }) if !person.is_there => {
                return Ok(ExitCode::FAILURE);
            }
            Followed::Ended(_) | Followed::Cancelled => drop(messages.pop()),
            Followed::Left => return Err(Interrupted.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}
