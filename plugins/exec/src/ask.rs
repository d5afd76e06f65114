//! How an executable of the folder is asked what it is: `FILE --skep-spec`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use skep::schema::{InputSchema, input_schema};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::config::{Declaration, DeclarationError};
use crate::lifeline::Lifeline;
use crate::lines::Lines;
use crate::operation::ExecOperation;
use crate::process::{Pipes, Process};
use crate::program::{Program, is_executable};
use crate::tail::{Tail, in_words};

/// What a file is asked with.
const QUESTION: &str = "--skep-spec";

/// How long a file may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer, bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// The longest line of the standard error that is read whole, bytes.
const MAX_STDERR_LINE: usize = 1024;

/// Why a file is no operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("it is not executable: chmod +x it")]
    NotExecutable,
    #[error("its path is not UTF-8")]
    Path,
    #[error("it can't be started: {0}")]
    NotStarted(#[source] io::Error),
    #[error("it did not answer {QUESTION} within {PATIENCE:?}")]
    TooSlow,
    #[error("asked for {QUESTION} it ended with {0}")]
    Failed(String),
    #[error("its answer to {QUESTION} is longer than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("its answer to {QUESTION} is not one JSON object: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("its answer to {QUESTION} does not fit: {0}")]
    Invalid(String),
    #[error("its answer to {QUESTION} can't be used: {0}")]
    Unusable(#[from] DeclarationError),
}

/// Asks `file`, in `folder`, what it is. Both are absolute.
pub(crate) async fn ask(
    file: &Path,
    folder: &Path,
    lifeline: &Arc<Lifeline>,
) -> Result<ExecOperation, AskError> {
    if !is_executable(file) {
        return Err(AskError::NotExecutable);
    }
    let (Some(path), Some(stem)) = (file.to_str(), file.file_stem().and_then(|stem| stem.to_str()))
    else {
        return Err(AskError::Path);
    };
    // Dropped when it's late, the process is killed.
    let answer = timeout(PATIENCE, answer(file, folder, lifeline)).await;
    let mut answer = answer.map_err(|_| AskError::TooSlow)??;
    let name = match answer.remove("name") {
        None => stem.to_owned(),
        Some(Value::String(name)) => name,
        Some(_) => return Err(AskError::Invalid("/name is not a text".to_owned())),
    };
    if answer.insert("command".to_owned(), vec![path].into()).is_some() {
        return Err(AskError::Invalid("/command is the file itself, take it out".to_owned()));
    }
    let declaration = declaration(answer.into())?;
    Ok(ExecOperation::new(&name, declaration, folder, lifeline.clone())?)
}

/// Runs the file and reads its answer.
async fn answer(
    file: &Path,
    folder: &Path,
    lifeline: &Arc<Lifeline>,
) -> Result<Map<String, Value>, AskError> {
    let program = Program::file(file.to_owned(), QUESTION, folder.to_owned());
    let (mut process, pipes) =
        Process::start(&program, &[], lifeline).map_err(AskError::NotStarted)?;
    let Pipes { stdin, stdout, stderr } = pipes;
    drop(stdin);
    let mut answer = Vec::new();
    let mut stdout = stdout.take(MAX_ANSWER + 1);
    let last_words = async {
        let mut lines = Lines::new(stderr, MAX_STDERR_LINE);
        let mut tail = Tail::default();
        while let Some(line) = lines.next().await {
            tail.push(&line.into_text());
        }
        tail
    };
    let read = async {
        let read = stdout.read_to_end(&mut answer).await;
        // Whoever has more to say is not waited for.
        drop(stdout);
        read
    };
    let (read, last_words, exit) = tokio::join!(read, last_words, process.ended());
    read.map_err(AskError::NotStarted)?;
    if answer.len() as u64 > MAX_ANSWER {
        return Err(AskError::TooLong);
    }
    let exit = exit.map_err(AskError::NotStarted)?;
    if !exit.success() {
        return Err(AskError::Failed(in_words(exit) + &last_words.after_colon()));
    }
    serde_json::from_slice(&answer).map_err(AskError::NotJson)
}

/// Reads a declaration, with all that is wrong with it.
fn declaration(answer: Value) -> Result<Declaration, AskError> {
    let schema = InputSchema::compile(&input_schema::<Declaration>()).map_err(AskError::Invalid)?;
    if let Err(errors) = schema.check(&answer) {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        return Err(AskError::Invalid(errors.join("; ")));
    }
    serde_json::from_value(answer).map_err(AskError::NotJson)
}
