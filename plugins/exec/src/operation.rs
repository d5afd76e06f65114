//! An operation that is a program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skep::OperationHandler;
use skep::operation::OperationSpec;
use skep::prelude::*;
use skep::schema::InputSchema;
use tracing::error;

use crate::config::{Declaration, DeclarationError, Declared};
use crate::conversation::Conversation;
use crate::lifeline::Lifeline;
use crate::process::{Pipes, Process};
use crate::program::Program;

/// Runs a program for each job.
pub(crate) struct ExecOperation {
    spec: OperationSpec,
    /// What every result is held against.
    output: InputSchema,
    program: Program,
    cancel_grace: Duration,
    lifeline: Arc<Lifeline>,
}

impl ExecOperation {
    /// Operation `name` as it's declared, with relative paths from `base`.
    pub(crate) fn new(
        name: &str,
        declaration: Declaration,
        base: &Path,
        lifeline: Arc<Lifeline>,
    ) -> Result<Self, DeclarationError> {
        let Declared { spec, program, cancel_grace } = declaration.read(name, base)?;
        let output = InputSchema::compile(&spec.output_schema).map_err(DeclarationError::Output)?;
        Ok(Self { spec, output, program, cancel_grace, lifeline })
    }

    /// Starts the program for a job.
    fn start(&self, job: &JobContext) -> Result<(Process, Pipes)> {
        let name = &self.spec.name;
        // No `__` in their names: by that they'd be the configuration of a server that the program
        // starts.
        let facts = [
            ("SKEP_JOB_ID", job.id().to_string()),
            ("SKEP_ATTEMPT", job.attempt().to_string()),
            ("SKEP_OPERATION", name.clone()),
        ];
        Process::start(&self.program, &facts, &self.lifeline).map_err(|reason| {
            // Where it is is nothing for clients.
            let path = self.program.path().display();
            error!(operation = %name, "can't start {path}: {reason}");
            let detail = format!("the program of `{name}` can't be started: {}", reason.kind());
            OperationError::new("program-not-started", detail)
        })
    }
}

#[skep::async_trait]
impl OperationHandler for ExecOperation {
    fn spec(&self) -> &OperationSpec {
        &self.spec
    }

    async fn handle(&self, input: Value, job: &JobContext) -> Result<Value> {
        let (process, pipes) = self.start(job)?;
        let (conversation, stdin) = Conversation::new(job, process, pipes, self.cancel_grace);
        let result = conversation.hold(stdin, &input).await?;
        match self.output.check(&result) {
            Ok(()) => Ok(result),
            Err(errors) => {
                let detail = "the program's result does not fit the operation's `output`";
                Err(OperationError::new("invalid-result", detail).with("errors", json!(errors)))
            }
        }
    }
}
