//! The blocks of a terminal: what stands behind `$ ` is run, and must print what stands below it.
//!
//! A page is one session, in a directory of its own:
//!
//! - A block whose first line names a file, `# skep.toml`, is that file from there on.
//! - `...` stands for whatever a line has there; alone on a line, for any number of lines. Times, ids,
//!   versions and the server's port may differ from what is shown.
//! - `COMMAND &` is a server, on a port of its own. The session goes on when it listens; what it says
//!   later may stand below a later command, which then waits for it.
//! - `kill %1` and `kill -9 %1` end it.

mod expected;
mod session;

use std::fs::{self, File};
use std::path::Path;

use self::expected::Expected;
pub(crate) use self::session::Session;
use crate::page::{Block, Page};

/// What opens a command's line.
const PROMPT: &str = "$ ";

/// Declares the pages with a terminal, a test each, so that they run side by side.
macro_rules! pages {
    ($($name:ident = $path:literal;)*) => {
        /// The pages that are run.
        const PAGES: &[&str] = &[$($path),*];

        mod a_page_does_what_it_shows {
            $(#[test]
            fn $name() {
                super::run(&super::Page::read($path));
            })*
        }
    };
}

pages! {
    tutorial = "tutorial.md";
    howto_survive = "howto/survive.md";
    howto_cancel = "howto/cancel.md";
    howto_exec = "howto/exec.md";
    howto_metrics = "howto/metrics.md";
    howto_configure = "howto/configure.md";
    howto_proxy = "howto/proxy.md";
    howto_service = "howto/service.md";
    howto_backup = "howto/backup.md";
    reference_http = "reference/http.md";
}

#[test]
fn every_page_with_a_terminal_is_run() {
    for page in Page::all() {
        let has_terminal = page.blocks.iter().any(|block| block.language() == "console");
        assert_eq!(has_terminal, PAGES.contains(&page.path.as_str()), "{}: see above", page.path);
    }
}

/// A command of a block, and what it prints.
struct Step {
    line: usize,
    command: String,
    output: String,
}

fn run(page: &Page) {
    // Pages that build servers have one target directory, where these have one name.
    let builds = page.text.contains("$ skep dev") || page.text.contains("$ skep build");
    let _target = builds.then(lock_target);
    let mut session = Session::start();
    for block in &page.blocks {
        if block.language() == "console" {
            for step in steps(block) {
                let expected = Expected::parse(&step.output);
                if let Err(told) = session.run(&step.command, &expected) {
                    let Step { line, command, output } = step;
                    let at = format!("docs/src/{}:{line}", page.path);
                    panic!("{at}: `{command}`\nshould print\n{output}\nbut {told}");
                }
            }
        } else if let Some(file) = block.file() {
            let path = session.directory().join(file);
            fs::create_dir_all(path.parent().expect("it's in a folder")).expect("its folder");
            fs::write(path, &block.text).expect("it's written");
        }
    }
}

fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for (line, text) in (block.line + 1..).zip(block.text.lines()) {
        if let Some(command) = text.strip_prefix(PROMPT) {
            steps.push(Step { line, command: command.to_owned(), output: String::new() });
            goes_on = command.ends_with('\\');
        } else {
            let step = steps.last_mut().expect("a block of a terminal begins with a command");
            let to = if goes_on { &mut step.command } else { &mut step.output };
            if goes_on {
                to.push('\n');
                to.push_str(text);
                goes_on = text.ends_with('\\');
            } else {
                to.push_str(text);
                to.push('\n');
            }
        }
    }
    steps
}

/// Where the sessions have Cargo build. The tests of `skep-author` build there too.
fn target() -> String {
    format!("{}/author-target", env!("CARGO_TARGET_TMPDIR"))
}

/// Has that directory to itself until the file is dropped.
fn lock_target() -> File {
    let lock = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-build.lock");
    let lock = File::create(lock).expect("a lock file");
    lock.lock().expect("the lock");
    lock
}
