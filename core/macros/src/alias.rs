//! Former names of fields: serde takes them, and the schema has to say so.

use syn::{Attribute, LitStr, Result, Token, parse_quote};

/// The schema's extension that tells [`serde(alias)`](https://serde.rs/field-attrs.html#alias) of a
/// field with `attributes`, if it has one: the crate `skep` makes properties from it.
pub(crate) fn extension(attributes: &[Attribute]) -> Result<Option<Attribute>> {
    let mut aliases: Vec<LitStr> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("alias") {
                aliases.push(meta.value()?.parse()?);
            } else if meta.input.peek(Token![=]) {
                meta.value()?.parse::<syn::Expr>()?;
            } else if meta.input.peek(syn::token::Paren) {
                meta.input.parse::<proc_macro2::Group>()?;
            }
            Ok(())
        })?;
    }
    let has_some = !aliases.is_empty();
    Ok(has_some.then(|| parse_quote!(#[schemars(extend("x-aliases" = [#(#aliases),*]))])))
}
