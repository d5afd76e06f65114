//! `#[skep::data]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Result};

pub(crate) fn expand(attribute: &TokenStream, item: &DeriveInput) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "`#[skep::data]` takes no arguments"));
    }
    if let Data::Union(data) = &item.data {
        let message = "`#[skep::data]` is for structs and enums";
        return Err(Error::new(data.union_token.span, message));
    }
    Ok(quote! {
        #[derive(
            ::skep::__private::serde::Serialize,
            ::skep::__private::serde::Deserialize,
            ::skep::__private::schemars::JsonSchema,
        )]
        #[serde(crate = "::skep::__private::serde", deny_unknown_fields)]
        #[schemars(crate = "::skep::__private::schemars")]
        #item
    })
}
