//! The attributes of skep: `operation`, `plugin`, `data` and `command`. Use them through the crate `skep`.

mod alias;
mod attribute;
mod command;
mod data;
mod docs;
mod operation;
mod plugin;
mod route;
mod signature;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as TokenStream2;
use quote::{ToTokens, quote};
use syn::parse_macro_input;

/// Makes an operation from an async function and registers it.
///
/// The function's name is the operation's, its doc comment the summary (first paragraph) and the
/// description (the rest). Its parameters are the input's fields:
///
/// - a parameter's doc comment is its description in the schema;
/// - an `Option<T>` is optional, `#[default(EXPRESSION)]` gives a default;
/// - `#[schemars(range(min = 0, max = 2))]` and `#[serde(...)]` go to the field; a former name that
///   it's still taken by, `#[serde(alias = "old")]`, is in the schema as deprecated;
/// - one parameter `Input<T>` takes the whole input as a type of one's own;
/// - `&JobContext` is the job, and may be left out.
///
/// It returns `Result<T>`, where `T` is the result's type. All types must be owned, and implement
/// serde's traits and `JsonSchema`: `#[skep::data]` does both.
///
/// | attribute | meaning |
/// |---|---|
/// | `read_only` | it changes nothing |
/// | `idempotent` | running it twice is the same as running it once |
/// | `destructive` | it may delete or overwrite |
/// | `emits = Type` | the type of its output events |
/// | `timeout = "30s"` | a job that runs longer fails as `timeout` (`ms`, `s`, `m`, `h`) |
/// | `max_concurrency = 4` | how many of its jobs run at once |
/// | `max_queued = 100` | how many of its jobs may wait |
/// | `retry(attempts = 3, backoff = "1s")` | a job that fails is tried again; for `idempotent` ones |
/// | `deprecated = "use x"` | it's still served, and says what to use instead |
/// | `hidden` | only other operations may call it |
#[proc_macro_attribute]
pub fn operation(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    let expanded =
        syn::parse(attribute).and_then(|attribute| operation::expand(&attribute, function.clone()));
    finish(expanded.map_err(|error| (error, operation::plain(function).into_token_stream())))
}

/// Makes a plugin from an `impl` block: a family of operations with a state, and registers it.
///
/// `#[skep::plugin(name = "hive", config = HiveConfig)]`: the name is that of its table in the
/// configuration, `[plugins.hive]`; without `config` the table must be empty. Two more attributes
/// are `after = "worker"` (or a list of names: plugins that it starts after, where they are linked)
/// and `interceptor` (the type implements `skep::Interceptor`, which stands around every execution).
///
/// Methods with `#[operation(...)]` become operations, as functions do by
/// [`operation`](macro@operation). Those with `#[route(GET, "/v1/motto/{day}")]` answer HTTP requests
/// themselves: `async fn(&self, skep::http::Request) -> Result<skep::http::Response>`. Three others mean
/// something by their names:
///
/// - `async fn start(PluginContext<Config>) -> Result<Self>` makes the state; without it the type's
///   `Default` does;
/// - `async fn shutdown(&self)` ends what was begun;
/// - `async fn health(&self) -> Health` is asked by `/readyz`.
#[proc_macro_attribute]
pub fn plugin(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    let expanded =
        syn::parse(attribute).and_then(|attribute| plugin::expand(&attribute, block.clone()));
    finish(expanded.map_err(|error| (error, plugin::plain(block).into_token_stream())))
}

/// Makes a command of the command line from a function, in every server that links its crate:
/// `skep NAME ARGUMENT...`.
///
/// The function takes the arguments that follow the command's name, as a `Vec<OsString>`, and returns
/// the `ExitCode`. Its doc comment is the summary; its name the command's, with `-` for `_`, unless
/// `#[skep::command(name = "worker")]` says otherwise.
///
/// ```ignore
/// /// Say what the answer is.
/// #[skep::command]
/// fn answer(_arguments: Vec<OsString>) -> ExitCode {
///     println!("42");
///     ExitCode::SUCCESS
/// }
/// ```
#[proc_macro_attribute]
pub fn command(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    let expanded =
        syn::parse(attribute).and_then(|attribute| command::expand(&attribute, &function));
    finish(expanded.map_err(|error| (error, function.into_token_stream())))
}

/// Makes a struct or an enum fit for inputs, results and configurations.
///
/// It derives `Serialize`, `Deserialize` and `JsonSchema`, and refuses unknown fields.
/// `#[serde(...)]` and `#[schemars(...)]` work on it as ever; a field's former name,
/// `#[serde(alias = "old")]`, is in the schema as deprecated.
#[proc_macro_attribute]
pub fn data(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    let expanded = data::expand(&attribute.into(), item.clone());
    finish(expanded.map_err(|error| (error, item.into_token_stream())))
}

/// What the macro made; or its error, and the item as it would be without the macro: what else
/// refers to it, and what it refers to, must not look wrong as well.
fn finish(expanded: Result<TokenStream2, (syn::Error, TokenStream2)>) -> TokenStream {
    match expanded {
        Ok(expanded) => expanded.into(),
        Err((error, item)) => {
            let error = error.into_compile_error();
            quote!(#error #item).into()
        }
    }
}
