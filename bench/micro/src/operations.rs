//! The operations that are measured, and requests for them.

use skep::prelude::*;
use skep::{JobRequest, OperationHandler, OperationSpec, Value, async_trait, json};

/// Text of 12 bytes.
const TOKEN: &str = "twelve bytes";

/// What a text is generated from: three fields, as most inputs have a few.
#[skep::data]
struct Generation {
    /// What to go on from.
    prompt: String,
    /// How many tokens there are to be.
    max_tokens: u32,
    /// How much is left to chance.
    #[schemars(range(min = 0.0, max = 2.0))]
    temperature: f64,
}

/// Emit tokens.
#[skep::operation]
async fn generate(Input(prompt): Input<Generation>, job: &JobContext) -> Result<()> {
    for _ in 0..prompt.max_tokens {
        job.emit(TOKEN).await?;
    }
    Ok(())
}

/// A job that emits so many tokens of 12 bytes.
#[must_use]
pub fn tokens(count: u32) -> JobRequest {
    prompt("generate", count)
}

/// Emit nothing, until the job is cancelled.
#[skep::operation]
async fn generate_never(Input(_): Input<Generation>, job: &JobContext) -> Result<()> {
    job.cancelled().await;
    Ok(())
}

/// A job that is accepted, and then waits.
#[must_use]
pub fn waiting() -> JobRequest {
    prompt("generate_never", 100)
}

fn prompt(operation: &str, max_tokens: u32) -> JobRequest {
    let text = "What is the capital of France?";
    let input = json!({ "prompt": text, "max_tokens": max_tokens, "temperature": 0.7 });
    JobRequest::new(operation, input)
}

/// An object of some kinds of fields.
#[skep::data]
#[derive(Clone)]
struct Document {
    id: u64,
    title: String,
    tags: Vec<String>,
    text: String,
}

impl Document {
    /// One of about 1 KB.
    fn new(id: u64) -> Self {
        let tags = ["summary", "draft", "english"].map(str::to_owned).to_vec();
        let text = "A sentence of \"some\" words. ".repeat(32);
        Self { id, title: "What was said".to_owned(), tags, text }
    }
}

/// Emit documents.
#[skep::operation]
async fn documents_list(
    /// How many.
    count: u32,
    job: &JobContext,
) -> Result<()> {
    let document = Document::new(123_456);
    for _ in 0..count {
        job.emit(&document).await?;
    }
    Ok(())
}

/// A job that emits so many objects of 1 KB.
#[must_use]
pub fn documents(count: u32) -> JobRequest {
    JobRequest::new("documents_list", json!({ "count": count }))
}

/// Take documents.
#[skep::operation]
async fn documents_import(
    /// What to take.
    documents: Vec<Document>,
) -> Result<usize> {
    Ok(documents.len())
}

/// A job with so many documents of 1 KB for its input.
pub fn import(count: u64) -> JobRequest {
    let documents: Vec<_> = (0..count).map(Document::new).collect();
    JobRequest::new("documents_import", json!({ "documents": documents }))
}

/// An operation that nobody asks for: it's there so that there are many.
pub(crate) struct Other(OperationSpec);

impl Other {
    pub(crate) fn new(number: usize) -> Self {
        let name = format!("family{}_verb{}", number / 10, number % 10);
        Self(OperationSpec::new(name, "One of many."))
    }
}

#[async_trait]
impl OperationHandler for Other {
    fn spec(&self) -> &OperationSpec {
        &self.0
    }

    async fn handle(&self, input: Value, _: &JobContext) -> Result<Value> {
        Ok(input)
    }
}
