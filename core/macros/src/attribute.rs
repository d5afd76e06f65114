//! What stands in the attributes' parentheses.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Ident, LitInt, LitStr, Result, Token, Type};

/// `#[operation(read_only, timeout = "30s", ...)]`.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each an attribute")]
pub(crate) struct OperationAttribute {
    read_only: bool,
    idempotent: bool,
    destructive: bool,
    hidden: bool,
    emits: Option<Type>,
    timeout_ms: Option<u64>,
    max_concurrency: Option<LitInt>,
    max_queued: Option<LitInt>,
    retry: Option<RetryAttribute>,
    deprecated: Option<LitStr>,
    pub(crate) placement: Option<PlacementAttribute>,
}

/// `retry(attempts = 3, backoff = "1s")`.
struct RetryAttribute {
    attempts: LitInt,
    backoff_ms: u64,
}

/// `placed`, `placed(model = "id")`, `placed(model = "id", anywhere)`.
pub(crate) struct PlacementAttribute {
    model: Option<LitStr>,
    anywhere: bool,
}

/// `#[plugin(name = "hive", config = HiveConfig)]`.
pub(crate) struct PluginAttribute {
    pub(crate) name: LitStr,
    pub(crate) config: Option<Type>,
    pub(crate) after: Vec<LitStr>,
    pub(crate) is_interceptor: bool,
}

impl Parse for OperationAttribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attribute = Self::default();
        let mut seen: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if seen.contains(&key) {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            attribute.parse_value(&key, input)?;
            seen.push(key);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let given = |name: &str| seen.iter().find(|key| *key == name);
        if let (true, Some(key)) = (attribute.read_only, given("destructive")) {
            let message = "an operation can't be `read_only` and `destructive`";
            return Err(Error::new(key.span(), message));
        }
        if let (None, Some(key)) = (&attribute.max_concurrency, given("max_queued")) {
            let message = "`max_queued` needs `max_concurrency`: without it nothing waits";
            return Err(Error::new(key.span(), message));
        }
        if let (false, Some(key)) = (attribute.idempotent, given("retry")) {
            let message = "`retry` is for `idempotent` operations only: running this one twice may \
                           not be the same as running it once";
            return Err(Error::new(key.span(), message));
        }
        Ok(attribute)
    }
}

impl OperationAttribute {
    fn parse_value(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        match key.to_string().as_str() {
            "read_only" => self.read_only = true,
            "idempotent" => self.idempotent = true,
            "destructive" => self.destructive = true,
            "hidden" => self.hidden = true,
            "emits" => {
                input.parse::<Token![=]>()?;
                self.emits = Some(input.parse()?);
            }
            "timeout" => {
                input.parse::<Token![=]>()?;
                self.timeout_ms = Some(milliseconds(&input.parse()?)?);
            }
            "max_concurrency" => self.max_concurrency = Some(positive(input)?),
            "max_queued" => {
                input.parse::<Token![=]>()?;
                self.max_queued = Some(input.parse()?);
            }
            "retry" => {
                let arguments;
                syn::parenthesized!(arguments in input);
                self.retry = Some(RetryAttribute::read(key, &arguments)?);
            }
            "deprecated" => {
                input.parse::<Token![=]>()?;
                self.deprecated = Some(input.parse()?);
            }
            "placed" => self.placement = Some(PlacementAttribute::read(key, input)?),
            _ => {
                return Err(Error::new(
                    key.span(),
                    format!(
                        "`{key}` is not an attribute of operations; there are read_only, \
                         idempotent, destructive, emits, timeout, max_concurrency, max_queued, \
                         retry, deprecated, hidden, placed"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Statements that set the fields of `spec`.
    pub(crate) fn set_spec(&self) -> TokenStream {
        let Self { read_only, idempotent, destructive, hidden, .. } = self;
        let emits = self.emits.iter().map(|ty| {
            let schema = quote_spanned! {
                ty.span() => ::skep::__private::output_schema::<#ty>()
            };
            quote!(spec.emits_schema = ::core::option::Option::Some(#schema);)
        });
        let timeout = self.timeout_ms.iter().map(|ms| {
            quote! {
                spec.limits.timeout =
                    ::core::option::Option::Some(::core::time::Duration::from_millis(#ms));
            }
        });
        let retry = self.retry.iter().map(|RetryAttribute { attempts, backoff_ms }| {
            quote! {
                spec.limits.retry = ::core::option::Option::Some(::skep::operation::Retry::new(
                    #attempts,
                    ::core::time::Duration::from_millis(#backoff_ms),
                ));
            }
        });
        let placement = self.placement.iter().map(PlacementAttribute::set);
        let deprecated = self.deprecated.iter();
        let concurrency = self.max_concurrency.iter();
        let queued = self.max_queued.iter();
        quote! {
            spec.hints.read_only = #read_only;
            spec.hints.idempotent = #idempotent;
            spec.hints.destructive = #destructive;
            spec.hidden = #hidden;
            #(#emits)*
            #(#timeout)*
            #(#retry)*
            #(#placement)*
            #(spec.deprecated = ::core::option::Option::Some(#deprecated.to_owned());)*
            #(spec.limits.max_concurrency = ::core::option::Option::Some(#concurrency);)*
            #(spec.limits.max_queued = ::core::option::Option::Some(#queued);)*
        }
    }
}

/// The longest first pause between attempts, if the author doesn't say.
const BACKOFF_MS: u64 = 1_000;

impl RetryAttribute {
    fn read(retry: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let (mut attempts, mut backoff_ms) = (None, BACKOFF_MS);
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "attempts" => attempts = Some(positive(input)?),
                "backoff" => {
                    input.parse::<Token![=]>()?;
                    backoff_ms = milliseconds(&input.parse()?)?;
                }
                _ => {
                    let message =
                        format!("`{key}` is not a part of `retry`; there are attempts and backoff");
                    return Err(Error::new(key.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let Some(attempts) = attempts else {
            let message = "`retry` says how often: `retry(attempts = 3)`";
            return Err(Error::new(retry.span(), message));
        };
        Ok(Self { attempts, backoff_ms })
    }
}

impl PlacementAttribute {
    fn read(placed: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let mut attribute = Self { model: None, anywhere: false };
        if !input.peek(syn::token::Paren) {
            return Ok(attribute);
        }
        let arguments;
        syn::parenthesized!(arguments in input);
        while !arguments.is_empty() {
            let key: Ident = arguments.parse()?;
            match key.to_string().as_str() {
                "model" => {
                    arguments.parse::<Token![=]>()?;
                    attribute.model = Some(arguments.parse()?);
                }
                "anywhere" => attribute.anywhere = true,
                _ => {
                    let message =
                        format!("`{key}` is not a part of `placed`; there are model and anywhere");
                    return Err(Error::new(key.span(), message));
                }
            }
            if !arguments.is_empty() {
                arguments.parse::<Token![,]>()?;
            }
        }
        if attribute.model.is_none() {
            let message = "`placed` says by which field's model: `placed(model = \"id\")`; alone it's \
                           where `hive_id` says";
            return Err(Error::new(placed.span(), message));
        }
        Ok(attribute)
    }

    /// A statement that places `spec`.
    fn set(&self) -> TokenStream {
        let placement = quote!(::skep::placement::Placement);
        let placement = match (&self.model, self.anywhere) {
            (None, _) => quote!(#placement::Here),
            (Some(field), false) => quote!(#placement::WithModel(#field.to_owned())),
            (Some(field), true) => quote!(#placement::WithModelOrAnywhere(#field.to_owned())),
        };
        quote!(::skep::__private::place(&mut spec, #placement);)
    }
}

impl Parse for PluginAttribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut name, mut config, mut after, mut is_interceptor) = (None, None, None, false);
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "name" => {
                    input.parse::<Token![=]>()?;
                    name = Some(plugin_name(input.parse()?)?);
                }
                "config" => {
                    input.parse::<Token![=]>()?;
                    config = Some(input.parse()?);
                }
                "after" => {
                    input.parse::<Token![=]>()?;
                    after = Some(plugin_names(input)?);
                }
                "interceptor" => is_interceptor = true,
                _ => {
                    let message = format!(
                        "`{key}` is not an attribute of plugins; there are name, config, after and \
                         interceptor"
                    );
                    return Err(Error::new(key.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let Some(name) = name else {
            let message = "a plugin has a name: `#[skep::plugin(name = \"hive\")]`";
            return Err(Error::new(input.span(), message));
        };
        Ok(Self { name, config, after: after.unwrap_or_default(), is_interceptor })
    }
}

/// One plugin's name, or several in brackets.
fn plugin_names(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    if input.peek(LitStr) {
        return Ok(vec![plugin_name(input.parse()?)?]);
    }
    let names;
    syn::bracketed!(names in input);
    names.parse_terminated(Parse::parse, Token![,])?.into_iter().map(plugin_name).collect()
}

fn plugin_name(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(allowed) {
        return Ok(name);
    }
    let message =
        "a plugin's name is lower-case letters, digits and `-`: it's a table of skep.toml";
    Err(Error::new(name.span(), message))
}

fn positive(input: ParseStream<'_>) -> Result<LitInt> {
    input.parse::<Token![=]>()?;
    let number: LitInt = input.parse()?;
    if number.base10_parse::<usize>()? == 0 {
        return Err(Error::new(number.span(), "with 0 the operation would never run"));
    }
    Ok(number)
}

/// `"250ms"`, `"30s"`, `"5m"`, `"1h"`.
fn milliseconds(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let digits = value.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    number.zip(scale).and_then(|(number, scale)| number.checked_mul(scale)).ok_or_else(|| {
        let message = format!("`{value}` is not a time such as \"250ms\", \"30s\", \"5m\", \"1h\"");
        Error::new(text.span(), message)
    })
}
