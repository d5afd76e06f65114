//! `skep build`: a server from the plugins that are asked for.

mod conflict;
mod manifest;
mod proof;
mod request;
mod with;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::Tool;
use crate::cargo::{self, CargoError, Lock, Metadata, PackageId, Profile};
use crate::server_crate::{ServerCrate, WriteError};
use crate::source::SourceArgs;

use self::request::Request;
use self::with::With;

/// Build a server from the stock plugins and those that are asked for.
///
/// Writes a small crate that links them, has Cargo build it, and runs the program once to see that
/// every plugin is in. Needs a Rust toolchain.
///
/// What is asked for is in the flags, or in `skep-build.toml`, which is read if there is no `--with`
/// and no `--without`:
///
///   with = ["shout@1.2", { name = "hush", path = "../hush" }]
///   without = ["worker"]
///   output = "skep"
///
/// Its versions are then in `skep-build.lock`, to be kept beside it. The next build takes the same;
/// without that file it chooses anew.
#[derive(Parser)]
#[command(name = "build", bin_name = "skep build", verbatim_doc_comment)]
#[allow(clippy::doc_link_with_quotes, reason = "it's what `--help` prints")]
pub(crate) struct Build {
    /// Add a plugin: from the registry by `CRATE` or `CRATE@VERSION`, from a directory by
    /// `CRATE=PATH`, from a repository by `CRATE=GIT-URL` or `CRATE=GIT-URL#REV`
    #[arg(long, value_name = "CRATE[@VERSION][=PATH]")]
    with: Vec<With>,

    /// Leave out a stock family
    #[arg(long, value_name = "FAMILY")]
    without: Vec<String>,

    /// The registry that plugins without a path are from, by its name in Cargo's configuration
    #[arg(long, value_name = "NAME", requires = "with")]
    registry: Option<String>,

    /// Read what to build from this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with", "without"])]
    manifest: Option<PathBuf>,

    /// Where the server goes [default: skep]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Use the versions of the lock file: fail if there is none, or if it doesn't fit
    #[arg(long)]
    locked: bool,

    /// Build quickly, a slower server
    #[arg(long)]
    debug: bool,

    /// Where the server's crate is written and kept, for `cargo tree` and a quicker next time
    #[arg(long, value_name = "DIRECTORY", default_value = "target/skep-build")]
    crate_dir: PathBuf,

    #[command(flatten)]
    source: SourceArgs,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("can't use {}: {reason}", .path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error("{} is a directory: name the server's file by `--output FILE`", .0.display())]
    OutputIsDirectory(PathBuf),
    #[error(
        "`--locked`: there is no {}; build without `--locked` once, and it's written", .0.display()
    )]
    NoLock(PathBuf),
    #[error("cargo can't make out what to build:\n{0}")]
    Unresolved(String),
    #[error(
        "`--locked`: the lock file doesn't fit what is asked for; build without `--locked` once, and \
         it's brought up to date. Cargo says:\n{0}"
    )]
    StaleLock(String),
    #[error("plugin `{name}` ({place}) does not compile")]
    PluginDoesNotCompile { name: String, place: String },
    #[error("plugin `{name}` ({place}) can't be built: {needed}, which it needs, does not compile")]
    NeededDoesNotCompile { name: String, place: String, needed: String },
}

impl Tool for Build {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let profile = if self.debug { Profile::Dev } else { Profile::Release };
        let lock = if self.locked { Lock::Keep } else { Lock::Extend };
        let directory = std::path::absolute(&self.crate_dir)?;
        let request = self.request()?;
        if request.output.is_dir() {
            return Err(BuildError::OutputIsDirectory(request.output).into());
        }
        let server = ServerCrate {
            directory: &directory,
            source: &request.source,
            plugins: request.plugins()?,
        };
        if let Some(kept) = &request.lock {
            take_lock(kept, &directory, lock)?;
        }
        let metadata = match server.write(lock) {
            Err(WriteError::Cargo(CargoError::Unresolved(words))) => {
                return Err(unresolved(words, &server, lock));
            }
            written => written?,
        };
        let program = match cargo::build(&directory, profile, lock) {
            Err(CargoError::DoesNotCompile(package)) => {
                return Err(does_not_compile(&package, &server, &metadata));
            }
            built => built?,
        };
        let proof = proof::of(&program, &server, &metadata)?;
        replace(&program, &request.output)?;
        if let Some(kept) = &request.lock {
            replace(&directory.join("Cargo.lock"), kept)?;
        }
        writeln!(io::stdout(), "{} has {proof}", request.output.display())?;
        Ok(())
    }
}

impl Build {
    fn request(self) -> Result<Request, Box<dyn Error>> {
        let is_asked = !self.with.is_empty() || !self.without.is_empty();
        let mut request = if is_asked {
            Request::of_flags(self.with, self.without, self.registry.as_deref(), &self.source)?
        } else {
            Request::of_manifest(self.manifest.as_deref(), &self.source)?
        };
        if let Some(output) = self.output {
            request.output = output;
        }
        Ok(request)
    }
}

/// Begins with the lock file that is kept; without one, with none.
fn take_lock(kept: &Path, directory: &Path, lock: Lock) -> Result<(), BuildError> {
    let used = directory.join("Cargo.lock");
    if kept.exists() {
        return replace(kept, &used);
    }
    if lock == Lock::Keep {
        return Err(BuildError::NoLock(kept.to_owned()));
    }
    match fs::remove_file(&used) {
        Err(reason) if used.exists() => Err(BuildError::File { path: used, reason }),
        _ => Ok(()),
    }
}

/// Why Cargo can't make out what to build, as far as it can be told better than Cargo does.
pub(crate) fn unresolved(words: String, server: &ServerCrate<'_>, lock: Lock) -> Box<dyn Error> {
    match conflict::explain(&words, server) {
        Ok(Some(conflict)) => conflict.into(),
        Ok(None) if lock == Lock::Keep && words.contains("--locked") => {
            BuildError::StaleLock(words).into()
        }
        Ok(None) => BuildError::Unresolved(words).into(),
        Err(error) => error.into(),
    }
}

/// Whose fault it is that `package` doesn't compile.
pub(crate) fn does_not_compile(
    package: &PackageId,
    server: &ServerCrate<'_>,
    metadata: &Metadata,
) -> Box<dyn Error> {
    let needed = metadata.package(package);
    let plugins = server.plugins.iter().filter_map(|plugin| metadata.direct_package(&plugin.name));
    let ways = plugins.filter_map(|plugin| metadata.way(&plugin.id, package));
    let plugin = ways.min_by_key(Vec::len).and_then(|way| way.first().copied());
    let (Some(plugin), Some(needed)) = (plugin, needed) else {
        return CargoError::DoesNotCompile(package.clone()).into();
    };
    let (name, place) = (plugin.name.clone(), plugin.place());
    if plugin.id == *package {
        return BuildError::PluginDoesNotCompile { name, place }.into();
    }
    BuildError::NeededDoesNotCompile { name, place, needed: needed.to_string() }.into()
}

/// Puts a copy of `from` at `to`, at once: what runs or is read there goes on with what it has.
fn replace(from: &Path, to: &Path) -> Result<(), BuildError> {
    let mut copy = to.to_owned().into_os_string();
    copy.push(".new");
    let replaced = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(from, &copy)?;
        fs::rename(&copy, to)
    };
    replaced().map_err(|reason| BuildError::File { path: to.to_owned(), reason })
}
