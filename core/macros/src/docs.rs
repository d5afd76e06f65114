//! Doc comments: an operation's summary and description.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// A doc comment's first paragraph, on one line, and the rest.
pub(crate) fn summary_and_description(attributes: &[Attribute]) -> (String, String) {
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    let border = lines.iter().position(|line| line.trim().is_empty()).unwrap_or(lines.len());
    let (first, rest) = lines.split_at(border);
    let summary: Vec<&str> = first.iter().map(|line| line.trim()).collect();
    (summary.join(" "), rest.join("\n").trim().to_owned())
}

/// A line of a doc comment, without the blank behind `///`.
fn line(attribute: &Attribute) -> Option<String> {
    if !attribute.path().is_ident("doc") {
        return None;
    }
    match &attribute.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}
