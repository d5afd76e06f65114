//! `skep new`: a crate from a template.

mod name;
mod template;

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use skep::plugin::Linked;

use self::name::{Name, NameError};
use self::template::{PLUGIN, SERVER};
use crate::Tool;
use crate::source::{CORE, SourceArgs, SourceError};

/// Write a plugin or a server, ready to build, test and run.
///
/// It's written into a new directory of that name, all of it or nothing.
#[derive(Parser)]
#[command(name = "new", bin_name = "skep new")]
pub(crate) struct New {
    /// What to write
    #[arg(value_enum)]
    kind: Kind,
    /// The crate's name, and a plugin's operation's: like `shout` or `loud-shout`
    name: String,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An operation with state and configuration, its tests, README and CI
    Plugin,
    /// A program that serves the plugins it names
    Server,
}

/// Why there is no new crate.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "`{0}` is taken: this program has a plugin, a store or an operation of that name, and no \
         server can have two"
    )]
    Taken(String),
    #[error("`{0}` can't be the crate's name: it depends on a crate that is called so")]
    Dependency(String),
    #[error("{}/ is there already, and isn't empty: name another, or remove it", .0.display())]
    NotEmpty(PathBuf),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("can't write {}: {reason}", .path.display())]
    File { path: PathBuf, reason: io::Error },
}

impl Tool for New {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let name = Name::parse(&self.name)?;
        let template = match self.kind {
            Kind::Plugin => PLUGIN,
            Kind::Server => SERVER,
        };
        if template.depends_on(&name) {
            return Err(NewError::Dependency(name.kebab()).into());
        }
        if self.kind == Kind::Plugin && is_taken(&name) {
            return Err(NewError::Taken(name.snake).into());
        }
        let source = self.source.open()?;
        let files = template.crate_named(&name, &source)?;
        write(Path::new(&name.kebab()), &files)?;
        writeln!(io::stdout(), "{}", self.next(&name))?;
        if source.location(CORE)?.get("path").is_some() {
            eprintln!(
                "Skep's crates are taken from {source}. For other machines, CI's too: `--source \
                 GIT-URL`."
            );
        }
        Ok(())
    }
}

impl New {
    /// What to do with the new crate, in words to paste.
    fn next(&self, name: &Name) -> String {
        let (directory, operation) = (name.kebab(), &name.snake);
        match self.kind {
            Kind::Plugin => format!(
                "The plugin `{directory}` is in {directory}/. Next:

  cd {directory} && skep dev           # and in another terminal:
  curl -N http://127.0.0.1:7833/v1/operations/{operation} \\
    -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\
    -d '{{\"text\": \"good morning\"}}'

`skep dev` serves it, and serves it anew when src/lib.rs changes. `cargo test` tests it."
            ),
            Kind::Server => format!(
                "The server `{directory}` is in {directory}/. Next:

  cd {directory} && cargo run -- serve    # and in another terminal:
  cargo run -- run echo value=hello

src/main.rs is its list of plugins. `cargo test` tests it."
            ),
        }
    }
}

/// Whether this program has a plugin, an operation or a store of that name: a server with both
/// wouldn't start.
fn is_taken(name: &Name) -> bool {
    let linked = Linked::all();
    let plugins = linked.plugins.iter().flat_map(|plugin| {
        let operations = (plugin.specs)().into_iter().map(|spec| spec.name);
        operations.chain([plugin.name.replace('-', "_")])
    });
    let operations = linked.operations.iter().map(|it| (it.handler)().spec().name.clone());
    let stores = Linked::stores().into_iter().map(|store| store.name.replace('-', "_"));
    plugins.chain(operations).chain(stores).any(|taken| taken == name.snake)
}

/// Writes a crate's files, or nothing.
fn write(directory: &Path, files: &[(String, String)]) -> Result<(), NewError> {
    let failed = |reason| NewError::File { path: directory.to_owned(), reason };
    // Beside its place, so that the last step is a rename.
    let scratch = tempfile::Builder::new().prefix(".skep-new-").tempdir_in(".").map_err(failed)?;
    let made = scratch.path().join("crate");
    for (path, text) in files {
        let path = made.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        written.and_then(|()| fs::write(&path, text)).map_err(failed)?;
    }
    // An empty directory gives way.
    fs::rename(&made, directory).map_err(|reason| match reason.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            NewError::NotEmpty(directory.to_owned())
        }
        _ => failed(reason),
    })
}
