//! Blocks that are checked as they stand. Those of Rust are tests of the library beside this, and
//! those of a terminal are run by `console.rs`.

use std::fs;
use std::path::Path;

use toml::Table;

use crate::page::{Block, Page};
use crate::skep;

/// What a block may be. `text` is for what can't be tried: a picture, a line of systemd's.
const LANGUAGES: [&str; 8] =
    ["rust", "console", "toml", "json", "python", "sh", "javascript", "text"];

/// Checks every block of `language`, and tells all that are wrong.
fn each(language: &str, check: impl Fn(&Page, &Block) -> Result<(), String>) {
    let mut wrong = Vec::new();
    for page in Page::all() {
        for block in page.blocks.iter().filter(|block| block.language() == language) {
            if let Err(error) = check(&page, block) {
                wrong.push(format!("docs/src/{}:{}: {error}", page.path, block.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_block_is_of_a_kind_that_is_checked() {
    for page in Page::all() {
        for block in &page.blocks {
            let at = format!("docs/src/{}:{}", page.path, block.line);
            assert!(LANGUAGES.contains(&block.language()), "{at}: `{}`", block.info);
            assert!(!block.info.contains("ignore"), "{at}: a block that isn't compiled");
        }
    }
}

#[test]
fn every_page_with_rust_is_compiled() {
    let library = include_str!("../../src/lib.rs");
    each("rust", |page, _| {
        let is_named = library.contains(&format!("\"{}\"", page.path));
        if is_named { Ok(()) } else { Err("docs/check/src/lib.rs does not name its page".into()) }
    });
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = Page::read("SUMMARY.md").text;
    for page in Page::all().iter().filter(|page| page.path != "SUMMARY.md") {
        assert!(summary.contains(&format!("({})", page.path)), "{} is not there", page.path);
    }
}

#[test]
fn every_configuration_is_one_that_the_stock_build_takes() {
    each("toml", |page, block| {
        let mut table: Table = block.text.parse().map_err(|error| format!("{error}"))?;
        if block.file().is_some_and(|file| file != "skep.toml") {
            return Ok(());
        }
        forget_plugins_of_page(page, &mut table);
        let directory = tempfile::tempdir().expect("a directory");
        check_configuration(directory.path(), &table)
    });
}

/// Takes out the tables of plugins that the page itself makes: the stock build doesn't have them.
fn forget_plugins_of_page(page: &Page, table: &mut Table) {
    let is_made = |name: &str| {
        let ways =
            [format!("#[skep::plugin(name = \"{name}\""), format!("$ skep new plugin {name}")];
        ways.iter().any(|way| page.text.contains(way))
    };
    if let Some(plugins) = table.get_mut("plugins").and_then(toml::Value::as_table_mut) {
        plugins.retain(|name, _| !is_made(name));
    }
}

fn check_configuration(directory: &Path, table: &Table) -> Result<(), String> {
    fs::write(directory.join("skep.toml"), table.to_string()).expect("a file");
    skep::run(directory, &["config", "check"]).map(drop)
}

#[test]
fn every_json_is_json() {
    each("json", |_, block| {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&block.text);
        parsed.map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn every_script_has_the_syntax_of_its_language() {
    for (language, program, arguments) in [
        ("python", "python3", &["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"][..]),
        ("sh", "bash", &["-n"]),
        ("javascript", "node", &["--check"]),
    ] {
        each(language, |_, block| {
            let file = tempfile::Builder::new().suffix(".mjs").tempfile().expect("a file");
            fs::write(file.path(), &block.text).expect("it's written");
            skep::output(skep::command(program).args(arguments).arg(file.path())).map(drop)
        });
    }
}
