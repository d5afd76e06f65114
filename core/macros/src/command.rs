//! `#[skep::command]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, ItemFn, LitStr, Result, Token};

use crate::docs::summary_and_description;

/// `#[command]`, or `#[command(name = "worker")]`.
#[derive(Default)]
pub(crate) struct CommandAttribute {
    name: Option<LitStr>,
}

impl Parse for CommandAttribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self::default());
        }
        let key: syn::Ident = input.parse()?;
        if key != "name" {
            let message = format!("`{key}` is not an attribute of commands; there is name");
            return Err(Error::new(key.span(), message));
        }
        input.parse::<Token![=]>()?;
        Ok(Self { name: Some(input.parse()?) })
    }
}

pub(crate) fn expand(attribute: &CommandAttribute, function: &ItemFn) -> Result<TokenStream> {
    let (summary, _) = summary_and_description(&function.attrs);
    if summary.is_empty() {
        let message = "a command has a doc comment: its first paragraph is the summary";
        return Err(Error::new(function.sig.ident.span(), message));
    }
    if let Some(token) = &function.sig.asyncness {
        let message = "a command isn't async: it makes the runtime that it needs, if it needs one";
        return Err(Error::new_spanned(token, message));
    }
    let run = &function.sig.ident;
    let name =
        attribute.name.as_ref().map_or_else(|| run.to_string().replace('_', "-"), LitStr::value);
    Ok(quote! {
        #function

        ::skep::__private::inventory::submit! {
            ::skep::plugin::CommandRegistration {
                name: #name,
                summary: #summary,
                package: ::skep::package!(),
                run: #run,
            }
        }
    })
}
