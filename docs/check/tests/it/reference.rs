//! The pages that the code itself says: they are generated, committed, and must not be stale.
//!
//! `UPDATE_DOCS=1 cargo test -p skep-book` writes them, to be looked at and committed.

mod commands;
mod configuration;
mod operations;
mod problems;
mod schema;

use std::fs;

use crate::page;

/// The variable that has the pages written.
const UPDATE: &str = "UPDATE_DOCS";

/// What opens a generated page.
const NOTE: &str = "<!-- Generated: `UPDATE_DOCS=1 cargo test -p skep-book` writes it anew. -->";

/// Holds a page against what it should be.
fn hold(path: &str, title: &str, text: &str) {
    let (file, text) = (page::folder().join(path), format!("{NOTE}\n# {title}\n\n{text}"));
    if std::env::var_os(UPDATE).is_some() {
        return fs::write(&file, text).expect("the page is written");
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let mut lines = (1..).zip(lines(&kept, &text));
    let Some((line, (kept, text))) = lines.find(|(_, (a, b))| a != b) else { return };
    panic!(
        "docs/src/{path}:{line} is stale: `{UPDATE}=1 cargo test -p skep-book` writes it\n\
         it has  {kept}\nnot     {text}"
    );
}

/// The lines of two texts side by side, also where one is longer.
fn lines<'a>(one: &'a str, other: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let count = one.lines().count().max(other.lines().count());
    let padded = |text: &'a str| text.lines().chain(std::iter::repeat("(nothing)")).take(count);
    padded(one).zip(padded(other))
}

#[test]
fn the_page_of_operations_is_what_the_stock_build_serves() {
    hold("reference/operations.md", "Operations of the stock build", &operations::page());
}

#[test]
fn the_page_of_the_configuration_is_what_the_stock_build_takes() {
    hold("reference/configuration.md", "Configuration", &configuration::page());
}

#[test]
fn the_page_of_the_command_line_is_what_each_help_says() {
    hold("reference/commands.md", "Command line", &commands::page());
}

#[test]
fn the_page_of_problems_has_every_code() {
    hold("reference/problems.md", "Problems", &problems::page());
}
