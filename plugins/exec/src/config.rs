//! The configuration, and how an operation is described in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use skep::operation::OperationSpec;
use skep::parse_duration;

use crate::program::{Program, ProgramError};

/// How long a program may take to end when it's asked to, if its operation doesn't say.
///
/// Less than the server gives a cancelled job (`jobs.cancel_grace`, 5 s), so that it's this that
/// counts.
const CANCEL_GRACE: Duration = Duration::from_secs(3);

/// Programs that are operations.
#[skep::data]
#[derive(Default)]
#[serde(default)]
pub(crate) struct Config {
    /// A folder of executables. Each is an operation, described by what it answers to
    /// `--skep-spec`. What is changed in the folder is served without a restart.
    pub(crate) dir: Option<PathBuf>,
    /// Operations by their names.
    pub(crate) operations: BTreeMap<String, Declaration>,
}

/// An operation that is a program.
///
/// Relative paths in it are relative to `working_dir`.
#[skep::data]
#[derive(Clone)]
pub(crate) struct Declaration {
    /// The program and its arguments, started without a shell.
    #[schemars(length(min = 1))]
    command: Vec<String>,
    /// One line: what it does.
    summary: String,
    /// What a user must know beyond the summary.
    #[serde(default)]
    description: String,
    /// The JSON Schema of its input; any object if there's none.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    input: Option<Value>,
    /// A file with the JSON Schema of its input, in place of `input`.
    input_file: Option<PathBuf>,
    /// The JSON Schema of its result, which each result is held against; anything if there's none.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    output: Option<Value>,
    /// A file with the JSON Schema of its result, in place of `output`.
    output_file: Option<PathBuf>,
    /// How long a job may run, such as `30s`; as long as it likes if absent.
    timeout: Option<String>,
    /// How many of its jobs run at once; the others wait.
    #[schemars(range(min = 1))]
    max_concurrency: Option<usize>,
    /// How many of its jobs may wait.
    max_queued: Option<usize>,
    /// It changes nothing.
    #[serde(default)]
    read_only: bool,
    /// Running it twice is the same as running it once: its jobs run again after a crash.
    #[serde(default)]
    idempotent: bool,
    /// It may delete or overwrite.
    #[serde(default)]
    destructive: bool,
    /// Variables of the program's environment.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    env: BTreeMap<String, String>,
    /// The folder that the program runs in: by default that of the server, and for an executable in
    /// `dir` that folder.
    working_dir: Option<PathBuf>,
    /// How long the program may take to end when its job is cancelled (SIGTERM), before it's killed;
    /// 3 s if absent, and no longer than `jobs.cancel_grace`.
    cancel_grace: Option<String>,
}

/// Why an operation can't be as it's declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclarationError {
    #[error("`{key}`: {reason}")]
    Duration { key: &'static str, reason: String },
    #[error("`command`: {0}")]
    Program(#[from] ProgramError),
    #[error("`{0}` and `{0}_file` are both given: take one of them out")]
    TwoSchemas(&'static str),
    #[error("`{key}_file`: `{}` can't be read: {reason}", .path.display())]
    SchemaFile { key: &'static str, path: PathBuf, reason: String },
    #[error("`working_dir`: there is no folder `{}`", .0.display())]
    WorkingDir(PathBuf),
    #[error("`env`: `{0}` can't be a variable, or has a value that can't be one")]
    Variable(String),
    #[error("`output`: is no schema: {0}")]
    Output(String),
}

/// A declaration that has been read: what clients see of it, what is started, and how long that may
/// take to end.
pub(crate) struct Declared {
    pub(crate) spec: OperationSpec,
    pub(crate) program: Program,
    pub(crate) cancel_grace: Duration,
}

impl Declaration {
    /// Reads the declaration of operation `name`. Its `working_dir` is relative to `base`, which is
    /// absolute.
    pub(crate) fn read(self, name: &str, base: &Path) -> Result<Declared, DeclarationError> {
        let working_dir = match &self.working_dir {
            Some(folder) => base.join(folder),
            None => base.to_owned(),
        };
        if !working_dir.is_dir() {
            return Err(DeclarationError::WorkingDir(working_dir));
        }
        let is_variable = |(name, value): &(&String, &String)| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        };
        if let Some((name, _)) = self.env.iter().find(|variable| !is_variable(variable)) {
            return Err(DeclarationError::Variable(name.clone()));
        }
        let mut spec = OperationSpec::new(name, self.summary);
        spec.description = self.description;
        if let Some(input) = schema("input", self.input, self.input_file, &working_dir)? {
            spec.input_schema = input;
        }
        if let Some(output) = schema("output", self.output, self.output_file, &working_dir)? {
            spec.output_schema = output;
        }
        spec.hints.read_only = self.read_only;
        spec.hints.idempotent = self.idempotent;
        spec.hints.destructive = self.destructive;
        spec.limits.timeout = duration("timeout", self.timeout)?;
        spec.limits.max_concurrency = self.max_concurrency;
        spec.limits.max_queued = self.max_queued;
        let cancel_grace = duration("cancel_grace", self.cancel_grace)?.unwrap_or(CANCEL_GRACE);
        let program = Program::find(self.command, self.env, working_dir)?;
        Ok(Declared { spec, program, cancel_grace })
    }
}

fn duration(key: &'static str, text: Option<String>) -> Result<Option<Duration>, DeclarationError> {
    let duration = text.map(|text| parse_duration(&text)).transpose();
    duration.map_err(|reason| DeclarationError::Duration { key, reason })
}

/// The schema that is given in one way or the other, if it is.
fn schema(
    key: &'static str,
    inline: Option<Value>,
    file: Option<PathBuf>,
    working_dir: &Path,
) -> Result<Option<Value>, DeclarationError> {
    let Some(file) = file else { return Ok(inline) };
    if inline.is_some() {
        return Err(DeclarationError::TwoSchemas(key));
    }
    let path = working_dir.join(file);
    let read = std::fs::read(&path).map_err(|error| error.to_string());
    let schema = read.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()));
    schema.map(Some).map_err(|reason| DeclarationError::SchemaFile { key, path, reason })
}
