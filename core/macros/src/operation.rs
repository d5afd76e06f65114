//! `#[skep::operation]`, and the handler that it shares with the methods of a plugin.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ItemFn, Result, parse_quote};

use crate::attribute::OperationAttribute;
use crate::docs::summary_and_description;
use crate::signature::{Operation, strip};

pub(crate) fn expand(attribute: &OperationAttribute, mut function: ItemFn) -> Result<TokenStream> {
    if let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() {
        let message = "a method becomes an operation by `#[skep::plugin]` on its `impl` block";
        return Err(Error::new_spanned(receiver, message));
    }
    let operation = Operation::read(&mut function.sig)?;
    let name = &function.sig.ident;
    let handler = Handler {
        operation: &operation,
        spec: spec(&operation, attribute, &function.attrs)?,
        is_placed: attribute.placement.is_some(),
        plugin: None,
        function: quote!(#name),
    };
    let (handler_type, definition) = (handler.ty(), handler.definition());
    let allow = allow();
    Ok(quote! {
        #allow
        #function

        const _: () = {
            #definition

            ::skep::__private::inventory::submit! {
                ::skep::plugin::OperationRegistration {
                    package: ::skep::package!(),
                    handler: || ::std::sync::Arc::new(#handler_type { spec: #handler_type::spec() }),
                }
            }
        };
    })
}

/// The lints that a signature would offend though its author has no choice.
pub(crate) fn allow() -> Attribute {
    parse_quote! {
        #[allow(
            clippy::unused_async,
            clippy::too_many_arguments,
            reason = "it has to be async, and has a parameter for each field of an input"
        )]
    }
}

/// The function without what only the macro understands.
pub(crate) fn plain(mut function: ItemFn) -> ItemFn {
    strip(&mut function.sig);
    function
}

/// An expression that makes the operation's spec.
pub(crate) fn spec(
    operation: &Operation,
    attribute: &OperationAttribute,
    docs: &[Attribute],
) -> Result<TokenStream> {
    let name = operation.name.to_string();
    let (summary, description) = summary_and_description(docs);
    if summary.is_empty() {
        let message = "an operation has a doc comment: its first paragraph is the summary";
        return Err(Error::new(operation.name.span(), message));
    }
    if let (Some(_), Some(field)) = (&attribute.placement, operation.parameter("hive_id")) {
        let message =
            "`placed` adds `hive_id` to the input by itself; the operation runs where it says";
        return Err(Error::new(field.span(), message));
    }
    let (_, input) = operation.input();
    let input_schema = quote_spanned! {
        input.span() => ::skep::__private::input_schema::<#input>()
    };
    let output = &operation.output;
    let output_schema = quote_spanned! {
        output.span() => ::skep::__private::output_schema::<#output>()
    };
    let set = attribute.set_spec();
    Ok(quote! {{
        let mut spec = ::skep::operation::OperationSpec::new(#name, #summary);
        spec.description = #description.to_owned();
        spec.input_schema = #input_schema;
        spec.output_schema = #output_schema;
        #set
        spec
    }})
}

/// The handler's type of one operation.
pub(crate) struct Handler<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) spec: TokenStream,
    /// Whether its input has the field `hive_id` beside the operation's own.
    pub(crate) is_placed: bool,
    /// The plugin's type, if the operation is a method.
    pub(crate) plugin: Option<&'a syn::Type>,
    /// What is called.
    pub(crate) function: TokenStream,
}

impl Handler<'_> {
    pub(crate) fn ty(&self) -> proc_macro2::Ident {
        format_ident!("__{}_handler", self.operation.name)
    }

    /// The input's type, the handler's type, and its implementation.
    pub(crate) fn definition(&self) -> TokenStream {
        let ty = self.ty();
        let Self { operation, spec, is_placed, plugin, function } = self;
        let (input_definition, input) = operation.input();
        let state = plugin.map(|plugin| quote!(plugin: ::std::sync::Arc<#plugin>,));
        let read = quote_spanned! {
            input.span() => ::skep::__private::read_input::<#input>
        };
        let arrived = is_placed.then(|| quote!(let input = ::skep::__private::arrive(input)?;));
        let receiver = plugin.map(|_| quote!(&*self.plugin,));
        let arguments = operation.arguments();
        let output = &operation.output;
        let write = quote_spanned! {
            output.span() => ::skep::__private::write_output::<#output, _>
        };
        quote! {
            #input_definition

            #[allow(non_camel_case_types)]
            struct #ty {
                spec: ::skep::operation::OperationSpec,
                #state
            }

            impl #ty {
                fn spec() -> ::skep::operation::OperationSpec {
                    #spec
                }
            }

            #[::skep::__private::async_trait]
            impl ::skep::operation::OperationHandler for #ty {
                fn spec(&self) -> &::skep::operation::OperationSpec {
                    &self.spec
                }

                #[allow(unused_variables, reason = "an operation may do without input and job")]
                async fn handle(
                    &self,
                    input: ::skep::__private::serde_json::Value,
                    job: &::skep::job::JobContext,
                ) -> ::skep::Result<::skep::__private::serde_json::Value> {
                    #arrived
                    let input = #read(input)?;
                    #write(#function(#receiver #(#arguments),*).await)
                }
            }
        }
    }
}
