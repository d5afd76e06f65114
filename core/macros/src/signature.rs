//! A function's signature, read as an operation: its input's fields, its job, its result.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, Ident, Lit, Pat, PatType,
    PathArguments, PathSegment, Result, ReturnType, Signature, Type, TypeImplTrait, TypeReference,
};

use crate::alias;

/// An operation's function.
pub(crate) struct Operation {
    pub(crate) name: Ident,
    input: Input,
    /// How the function is called: its parameters in order.
    arguments: Vec<TokenStream>,
    pub(crate) output: Type,
}

enum Input {
    /// A parameter a field.
    Fields(Vec<Field>),
    /// One type of the author's own.
    Whole(Box<Type>),
}

struct Field {
    attributes: Vec<Attribute>,
    default: Option<Expr>,
    name: Ident,
    ty: Type,
}

/// The names that mean something in a request beside an input's fields.
const RESERVED: &str = "operation";

impl Operation {
    /// Reads `signature`, and takes the attributes off its parameters that rustc wouldn't allow.
    pub(crate) fn read(signature: &mut Signature) -> Result<Self> {
        if signature.asyncness.is_none() {
            let message = "an operation is an `async fn`";
            return Err(Error::new(signature.fn_token.span(), message));
        }
        if !signature.generics.params.is_empty() {
            let message = "an operation can't be generic: its schema is one";
            return Err(Error::new_spanned(&signature.generics, message));
        }
        check_name(&signature.ident)?;
        let output = output(signature)?;
        let mut fields = Vec::new();
        let mut whole = None;
        let mut arguments = Vec::new();
        for parameter in &mut signature.inputs {
            let FnArg::Typed(parameter) = parameter else { continue };
            if is_job_context(&parameter.ty)? {
                arguments.push(quote!(job));
                take_docs(parameter);
            } else if let Some(ty) = whole_input(&parameter.ty) {
                arguments.push(quote!(::skep::operation::Input(input)));
                take_docs(parameter);
                if whole.is_some() {
                    let message = "an operation has one input: one `Input<T>`";
                    return Err(Error::new_spanned(parameter, message));
                }
                whole = Some((parameter.ty.clone(), ty));
            } else {
                let field = Field::read(parameter)?;
                let name = &field.name;
                arguments.push(quote!(input.#name));
                fields.push(field);
            }
        }
        let input = match whole {
            Some((parameter, _)) if !fields.is_empty() => {
                let message = "`Input<T>` is the whole input: no other field can stand beside it";
                return Err(Error::new_spanned(parameter, message));
            }
            Some((_, ty)) => Input::Whole(Box::new(ty)),
            None => Input::Fields(fields),
        };
        Ok(Self { name: signature.ident.clone(), input, arguments, output })
    }

    /// The parameter that is called `name`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&Ident> {
        match &self.input {
            Input::Fields(fields) => fields.iter().map(|field| &field.name).find(|at| *at == name),
            Input::Whole(_) => None,
        }
    }

    /// The definition of the input's type, and the type.
    pub(crate) fn input(&self) -> (TokenStream, TokenStream) {
        let fields = match &self.input {
            Input::Whole(ty) => return (TokenStream::new(), quote!(#ty)),
            Input::Fields(fields) => fields,
        };
        let ty = format_ident!("__{}_input", self.name);
        let defaults = fields.iter().filter_map(|field| field.default_function(&self.name));
        let definitions = fields.iter().map(|field| field.definition(&self.name));
        let checks = fields.iter().map(|field| {
            let ty = &field.ty;
            quote_spanned!(ty.span() => ::skep::__private::is_parameter::<#ty>();)
        });
        let definition = quote! {
            // Before the derives, whose errors say less.
            const _: fn() = || { #(#checks)* };
            #(#defaults)*
            #[derive(
                ::skep::__private::serde::Deserialize,
                ::skep::__private::schemars::JsonSchema,
            )]
            #[serde(crate = "::skep::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::skep::__private::schemars")]
            #[allow(non_camel_case_types)]
            struct #ty {
                #(#definitions)*
            }
        };
        (definition, quote!(#ty))
    }

    /// The arguments of a call, from `input` and `job`.
    pub(crate) fn arguments(&self) -> &[TokenStream] {
        &self.arguments
    }
}

impl Field {
    fn read(parameter: &mut PatType) -> Result<Self> {
        let pattern = match &*parameter.pat {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => pattern,
            pattern => {
                let message = "a parameter is a field of the input: give it a name";
                return Err(Error::new_spanned(pattern, message));
            }
        };
        let name = pattern.ident.clone();
        if name == RESERVED {
            let message =
                "`operation` is the one reserved field of a request: it names the operation";
            return Err(Error::new(name.span(), message));
        }
        check_type(&parameter.ty)?;
        let mut attributes = std::mem::take(&mut parameter.attrs);
        let mut default = None;
        for attribute in &attributes {
            let path = attribute.path();
            if path.is_ident("default") {
                default = Some(attribute.parse_args()?);
            } else if !["doc", "serde", "schemars"].iter().any(|known| path.is_ident(known)) {
                let message = "a parameter takes `default`, `serde`, `schemars` and doc comments";
                return Err(Error::new_spanned(attribute, message));
            }
        }
        attributes.retain(|attribute| !attribute.path().is_ident("default"));
        attributes.extend(alias::extension(&attributes)?);
        Ok(Self { attributes, default, name, ty: (*parameter.ty).clone() })
    }

    fn definition(&self, operation: &Ident) -> TokenStream {
        let Self { attributes, name, ty, .. } = self;
        let default = self.default.as_ref().map(|_| {
            let function = self.default_name(operation).to_string();
            quote!(#[serde(default = #function)])
        });
        quote!(#(#attributes)* #default #name: #ty,)
    }

    fn default_name(&self, operation: &Ident) -> Ident {
        format_ident!("__{}_default_{}", operation, self.name)
    }

    fn default_function(&self, operation: &Ident) -> Option<TokenStream> {
        let (function, ty) = (self.default_name(operation), &self.ty);
        let value = match self.default.as_ref()? {
            // A text is most often wanted as a `String`.
            text @ Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => quote!(#text.into()),
            value => quote!(#value),
        };
        Some(quote_spanned! { ty.span() => fn #function() -> #ty { #value } })
    }
}

fn check_name(name: &Ident) -> Result<()> {
    let text = name.to_string();
    let snake_case = text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('_')
        && !text.contains("__")
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if text == RESERVED {
        return Err(Error::new(name.span(), "an operation can't be called `operation`"));
    }
    if !snake_case || text.len() > 64 {
        let message = "an operation's name is snake_case, `family_verb`, at most 64 characters";
        return Err(Error::new(name.span(), message));
    }
    Ok(())
}

/// Takes off the parameters what rustc wouldn't allow there without the macro.
pub(crate) fn strip(signature: &mut Signature) {
    for parameter in &mut signature.inputs {
        if let FnArg::Typed(parameter) = parameter {
            parameter.attrs.clear();
        }
    }
}

/// Refuses what a field can't be: a reference, also within another type, and `impl Trait`.
fn check_type(ty: &Type) -> Result<()> {
    struct Check(Option<Error>);

    impl<'ast> Visit<'ast> for Check {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            let message = match &*reference.elem {
                Type::Path(path) if path.path.is_ident("str") => {
                    "an operation owns its input: take a `String`"
                }
                Type::Slice(_) => "an operation owns its input: take a `Vec`",
                _ => "an operation owns its input: take the type itself, not a reference",
            };
            self.0.get_or_insert_with(|| Error::new_spanned(reference, message));
        }

        fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
            let message = "an operation's input has one schema: name the type";
            self.0.get_or_insert_with(|| Error::new_spanned(ty, message));
        }
    }

    let mut check = Check(None);
    check.visit_type(ty);
    check.0.map_or(Ok(()), Err)
}

/// Doc comments are allowed on every parameter, though only those of fields are of use.
fn take_docs(parameter: &mut PatType) {
    parameter.attrs.retain(|attribute| !attribute.path().is_ident("doc"));
}

/// The `T` of the `Result<T>` that the function returns.
fn output(signature: &Signature) -> Result<Type> {
    let message = "an operation returns `Result<T>`, where `T` is its result";
    let ReturnType::Type(_, ty) = &signature.output else {
        return Err(Error::new(signature.paren_token.span.close(), message));
    };
    last_segment(ty)
        .filter(|segment| segment.ident == "Result")
        .and_then(first_argument)
        .ok_or_else(|| Error::new_spanned(ty, message))
}

fn is_job_context(ty: &Type) -> Result<bool> {
    let is_job = |ty: &Type| last_segment(ty).is_some_and(|segment| segment.ident == "JobContext");
    match ty {
        Type::Reference(reference) if is_job(&reference.elem) && reference.mutability.is_none() => {
            Ok(true)
        }
        Type::Reference(reference) if !is_job(&reference.elem) => Ok(false),
        ty if matches!(ty, Type::Reference(_)) || is_job(ty) => {
            Err(Error::new_spanned(ty, "an operation's job is a `&JobContext`"))
        }
        _ => Ok(false),
    }
}

/// The `T` of an `Input<T>`.
fn whole_input(ty: &Type) -> Option<Type> {
    last_segment(ty).filter(|segment| segment.ident == "Input").and_then(first_argument)
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last()
}

fn first_argument(segment: &PathSegment) -> Option<Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}
