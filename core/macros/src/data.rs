//! `#[skep::data]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::alias;

pub(crate) fn expand(attribute: &TokenStream, mut item: DeriveInput) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "`#[skep::data]` takes no arguments"));
    }
    match &mut item.data {
        Data::Struct(data) => name_aliases(&mut data.fields)?,
        Data::Enum(data) => {
            for variant in &mut data.variants {
                if alias::extension(&variant.attrs)?.is_some() {
                    let message = "the schema can't say an alias of a variant, so its callers would be \
                                   refused: keep the former variant, and map it";
                    return Err(Error::new_spanned(variant, message));
                }
                name_aliases(&mut variant.fields)?;
            }
        }
        Data::Union(data) => {
            let message = "`#[skep::data]` is for structs and enums";
            return Err(Error::new(data.union_token.span, message));
        }
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

fn name_aliases(fields: &mut Fields) -> Result<()> {
    for field in fields {
        field.attrs.extend(alias::extension(&field.attrs)?);
    }
    Ok(())
}
