//! `#[route(...)]` on the methods of a plugin.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ImplItemFn, LitStr, Result, Token, Type};

/// The methods of HTTP that a route may have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// `#[route(GET, "/v1/motto")]`.
pub(crate) struct RouteAttribute {
    method: Ident,
    path: LitStr,
}

impl Parse for RouteAttribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let method: Ident = input.parse()?;
        if !METHODS.iter().any(|known| method == known) {
            let message = format!("a route's method is one of {}", METHODS.join(", "));
            return Err(Error::new(method.span(), message));
        }
        input.parse::<Token![,]>()?;
        let path: LitStr = input.parse()?;
        if !path.value().starts_with('/') {
            return Err(Error::new(path.span(), "a route's path begins with `/`"));
        }
        Ok(Self { method, path })
    }
}

/// An expression that makes the route of `method`, of the plugin `ty` in the variable `plugin`.
pub(crate) fn route(
    ty: &Type,
    attribute: &RouteAttribute,
    method: &ImplItemFn,
) -> Result<TokenStream> {
    let signature = &method.sig;
    let by_reference = match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            receiver.reference.is_some() && receiver.mutability.is_none()
        }
        _ => false,
    };
    if !by_reference || signature.inputs.len() != 2 || signature.asyncness.is_none() {
        let message = "a route is an `async fn(&self, request: Request) -> Result<Response>`";
        return Err(Error::new(signature.ident.span(), message));
    }
    let (RouteAttribute { method, path }, name) = (attribute, &signature.ident);
    let call = quote_spanned!(signature.output.span() => <#ty>::#name(&plugin, request).await);
    Ok(quote! {{
        let plugin = plugin.clone();
        ::skep::http::Route::new(::skep::http::Method::#method, #path, move |request| {
            let plugin = plugin.clone();
            async move { #call }
        })
    }})
}
