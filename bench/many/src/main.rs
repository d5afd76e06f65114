//! A Skep server with many operations, by which the cost of a job is measured as their number grows: so many as
//! `[plugins.many]` says, each with a schema of its own.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use skep::prelude::*;
use skep::{OperationHandler, OperationSpec, Value, async_trait};

fn main() -> ExitCode {
    skep_server::main()
}

/// `[plugins.many]`.
#[skep::data]
struct Config {
    /// How many operations there are.
    operations: usize,
}

struct Many;

/// As many operations as one wants.
#[skep::plugin(name = "many", config = Config)]
impl Many {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        let operations = (0..cx.config.operations).map(|number| Arc::new(Repeat::new(number)) as _);
        cx.operations().replace(operations.collect())?;
        Ok(Self)
    }
}

/// One of them: it emits a value as often as asked for.
struct Repeat(OperationSpec);

impl Repeat {
    fn new(number: usize) -> Self {
        let name = format!("family{}_verb{}", number / 10, number % 10);
        let mut spec = OperationSpec::new(name, "Emit a value.");
        // No two have the same names of fields, so that no schema serves for two.
        spec.input_schema = json!({
            "type": "object",
            "properties": {
                "value": { "type": "string", "maxLength": 1000 },
                "count": { "type": "integer", "minimum": 0 },
                format!("option{number}"): { "type": "number", "minimum": 0, "maximum": 2 },
            },
            "required": ["value", "count", format!("option{number}")],
            "additionalProperties": false,
        });
        Self(spec)
    }
}

#[async_trait]
impl OperationHandler for Repeat {
    fn spec(&self) -> &OperationSpec {
        &self.0
    }

    async fn handle(&self, input: Value, job: &JobContext) -> Result<Value> {
        for _ in 0..input["count"].as_u64().unwrap_or_default() {
            job.emit(&input["value"]).await?;
        }
        Ok(Value::Null)
    }
}
