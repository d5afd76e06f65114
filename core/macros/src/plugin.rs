//! `#[skep::plugin]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Result, Type};

use crate::attribute::{OperationAttribute, PluginAttribute};
use crate::docs::summary_and_description;
use crate::operation::{Handler, allow, spec};
use crate::route::route;
use crate::signature::{Operation, strip};

/// The methods that mean something by their names.
const HOOKS: [&str; 3] = ["start", "shutdown", "health"];

pub(crate) fn expand(attribute: &PluginAttribute, mut block: ItemImpl) -> Result<TokenStream> {
    if let Some((_, path, _)) = &block.trait_ {
        let message = "`#[skep::plugin]` stands on the type's own `impl` block, not on a trait's";
        return Err(Error::new_spanned(path, message));
    }
    if !block.generics.params.is_empty() {
        let message = "a plugin's type can't be generic: it's registered once";
        return Err(Error::new_spanned(&block.generics, message));
    }
    let ty = (*block.self_ty).clone();
    let mut handlers: Vec<(String, TokenStream, TokenStream)> = Vec::new();
    let mut routes = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        if let Some(attribute) = take(method, "route") {
            routes.push(route(&ty, &attribute.parse_args()?, method)?);
            method.attrs.push(allow());
            continue;
        }
        let Some(attribute) = take_attribute(method)? else {
            if HOOKS.iter().any(|hook| method.sig.ident == hook) {
                method.attrs.push(allow());
            }
            continue;
        };
        let handler = handler(&ty, &attribute, method)?;
        let name = method.sig.ident.to_string();
        if handlers.iter().any(|(other, ..)| *other == name) {
            let message = format!("the plugin has two operations called `{name}`");
            return Err(Error::new(method.sig.ident.span(), message));
        }
        handlers.push((name, handler.0, handler.1));
    }
    let definitions = handlers.iter().map(|(_, _, definition)| definition);
    let handler_types: Vec<_> = handlers.iter().map(|(_, ty, _)| ty).collect();
    let name = &attribute.name;
    let summary = summary_and_description(&block.attrs).0;
    let config = attribute
        .config
        .as_ref()
        .map_or_else(|| quote!(::skep::plugin::NoConfig), |config| quote!(#config));
    let config_schema = quote_spanned! {
        config.span() => ::skep::__private::config_schema::<#config>()
    };
    let (start, hooks) = (start(&block, &ty), hooks(&block, &ty));
    let after = &attribute.after;
    let interceptor = attribute
        .is_interceptor
        .then(|| quote_spanned!(ty.span() => let started = started.with_interceptor(plugin);));
    Ok(quote! {
        #block

        const _: () = {
            #(#definitions)*

            #[::skep::__private::async_trait]
            impl ::skep::plugin::Plugin for #ty {
                #(#hooks)*
            }

            ::skep::__private::inventory::submit! {
                ::skep::plugin::PluginRegistration {
                    name: #name,
                    summary: #summary,
                    package: ::skep::package!(),
                    after: &[#(#after),*],
                    config_schema: || #config_schema,
                    specs: || ::std::vec![#(#handler_types::spec()),*],
                    start: |context| ::std::boxed::Box::pin(async move {
                        let context = context.typed::<#config>()?;
                        let plugin: ::std::sync::Arc<#ty> = ::std::sync::Arc::new(#start);
                        let handlers: ::std::vec::Vec<
                            ::std::sync::Arc<dyn ::skep::operation::OperationHandler>
                        > = ::std::vec![#(::std::sync::Arc::new(#handler_types {
                            spec: #handler_types::spec(),
                            plugin: plugin.clone(),
                        })),*];
                        let started = ::skep::plugin::Started::new(plugin.clone(), handlers);
                        #(let started = started.with_route(#routes);)*
                        #interceptor
                        ::core::result::Result::Ok(started)
                    }),
                }
            }
        };
    })
}

/// The block without what only the macro understands.
pub(crate) fn plain(mut block: ItemImpl) -> ItemImpl {
    for item in &mut block.items {
        if let ImplItem::Fn(method) = item {
            method.attrs.retain(|one| !is_called(one, "operation") && !is_called(one, "route"));
            strip(&mut method.sig);
        }
    }
    block
}

fn is_called(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

/// Takes the attribute `name` off a method.
fn take(method: &mut ImplItemFn, name: &str) -> Option<Attribute> {
    let at = method.attrs.iter().position(|attribute| is_called(attribute, name))?;
    Some(method.attrs.remove(at))
}

/// Takes `#[operation(...)]` off a method.
fn take_attribute(method: &mut ImplItemFn) -> Result<Option<OperationAttribute>> {
    let Some(attribute) = take(method, "operation") else { return Ok(None) };
    match &attribute.meta {
        syn::Meta::Path(_) => Ok(Some(OperationAttribute::default())),
        _ => attribute.parse_args().map(Some),
    }
}

/// The type of a method's handler, and its definition.
fn handler(
    ty: &Type,
    attribute: &OperationAttribute,
    method: &mut ImplItemFn,
) -> Result<(TokenStream, TokenStream)> {
    match method.sig.inputs.first() {
        Some(FnArg::Receiver(receiver))
            if receiver.reference.is_some() && receiver.mutability.is_none() => {}
        _ => {
            let message = "an operation of a plugin takes `&self`: its jobs run side by side";
            return Err(Error::new(method.sig.ident.span(), message));
        }
    }
    let operation = Operation::read(&mut method.sig)?;
    method.attrs.push(allow());
    let name = &method.sig.ident;
    let handler = Handler {
        operation: &operation,
        spec: spec(&operation, attribute, &method.attrs)?,
        is_placed: attribute.placement.is_some(),
        plugin: Some(ty),
        function: quote!(<#ty>::#name),
    };
    let handler_type = handler.ty();
    Ok((quote!(#handler_type), handler.definition()))
}

fn has(block: &ItemImpl, name: &str) -> bool {
    block.items.iter().any(|item| matches!(item, ImplItem::Fn(method) if method.sig.ident == name))
}

/// An expression that makes the plugin's state.
fn start(block: &ItemImpl, ty: &Type) -> TokenStream {
    if has(block, "start") {
        return quote!(<#ty>::start(context).await?);
    }
    let default = quote_spanned!(ty.span() => ::skep::__private::default_state::<#ty>());
    quote!({
        let _ = context;
        #default
    })
}

/// The methods of the trait `Plugin` that the block has.
fn hooks(block: &ItemImpl, ty: &Type) -> Vec<TokenStream> {
    let mut hooks = Vec::new();
    // The inherent method is preferred to the trait's of the same name, so this is no recursion.
    if has(block, "shutdown") {
        hooks.push(quote!(async fn shutdown(&self) { <#ty>::shutdown(self).await }));
    }
    if has(block, "health") {
        hooks.push(quote! {
            async fn health(&self) -> ::skep::plugin::Health { <#ty>::health(self).await }
        });
    }
    hooks
}
