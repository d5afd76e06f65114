//! Running Cargo, and what it says.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What Cargo did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CargoError {
    #[error(
        "there is no Rust toolchain here: `cargo` isn't in PATH. Install one (rustup.rs; Rust {} or \
         later), then run this again",
        env!("CARGO_PKG_RUST_VERSION")
    )]
    NoToolchain,
    #[error("can't run cargo: {0}")]
    NotRun(io::Error),
    #[error("cargo's answer is not understood: {0}")]
    NotUnderstood(serde_json::Error),
    /// Cargo can't make out what to build. Its words, which nobody has seen yet.
    #[error("{0}")]
    Unresolved(String),
    /// The compiler has refused this package, and has said why on standard error.
    #[error("the build failed: `{0}` does not compile")]
    DoesNotCompile(PackageId),
    /// Something else went wrong, and Cargo has said what on standard error.
    #[error("the build failed, see above")]
    BuildFailed,
}

/// Whether Cargo may choose versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It keeps those of the lock file, and chooses what isn't in it.
    Extend,
    /// Those of the lock file are all there is (`--locked`).
    Keep,
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly.
    Dev,
    /// To be quick.
    Release,
}

/// The name that Cargo has for one package, which tells its source and version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub(crate) struct PackageId(String);

impl Display for PackageId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `cargo metadata` says of a crate: all that a build of it would take.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// One package of a build.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: PackageId,
    pub(crate) name: String,
    pub(crate) version: String,
    /// None of a path.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    /// What its manifest asks for.
    pub(crate) dependencies: Vec<Requirement>,
}

/// A dependency as a manifest asks for it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Requirement {
    pub(crate) name: String,
    req: String,
    /// None of a path.
    source: Option<String>,
    path: Option<PathBuf>,
    /// A registry's index. None of the public one, and where it isn't in one.
    registry: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: PackageId,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: PackageId,
    deps: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    /// What `use` calls it.
    name: String,
    pkg: PackageId,
}

impl Package {
    /// Where it's from: its directory, its registry, or its repository as `URL#COMMIT`.
    pub(crate) fn place(&self) -> String {
        let Some(source) = &self.source else {
            return self
                .manifest_path
                .parent()
                .unwrap_or(&self.manifest_path)
                .display()
                .to_string();
        };
        let (_, url) = source.split_once('+').unwrap_or(("", source));
        match (url.split_once('?'), url.split_once('#')) {
            (Some((url, _)), Some((_, commit))) => format!("{url}#{commit}"),
            _ => url.to_owned(),
        }
    }

    /// Whether it's from a git repository.
    pub(crate) fn is_in_git(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.starts_with("git+"))
    }

    /// The directory above its own, if it's of a path: the root of the tree that a core is of.
    pub(crate) fn tree(&self) -> Option<&Path> {
        let directory = self.source.is_none().then(|| self.manifest_path.parent())?;
        directory?.parent()
    }
}

/// As people name it: `shout 0.1.0 (/home/ada/shout)`.
impl Display for Package {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.place())
    }
}

/// As a manifest has it: `skep = "^0.1"`.
impl Display for Requirement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        let git = self.source.as_deref().and_then(|source| source.strip_prefix("git+"));
        let req = &self.req;
        match (&self.path, git, &self.registry) {
            (Some(path), ..) => write!(f, "{name} = {{ path = \"{}\" }}", path.display()),
            (_, Some(url), _) => write!(f, "{name} = {{ git = \"{url}\" }}"),
            (.., Some(index)) => {
                write!(f, "{name} = {{ version = \"{req}\", registry-index = \"{index}\" }}")
            }
            _ => write!(f, "{name} = \"{req}\""),
        }
    }
}

impl Metadata {
    /// The package with this id.
    pub(crate) fn package(&self, id: &PackageId) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == *id)
    }

    /// The libraries that the crate itself depends on, with the names that `use` has for them.
    pub(crate) fn direct(&self) -> impl Iterator<Item = (&str, &Package)> {
        let links = self.links(&self.resolve.root).iter();
        links.filter_map(|link| Some((link.name.as_str(), self.package(&link.pkg)?)))
    }

    /// The package of this name, if the build has one.
    pub(crate) fn named(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The package that the crate itself depends on by this name.
    pub(crate) fn direct_package(&self, name: &str) -> Option<&Package> {
        self.direct().map(|(_, package)| package).find(|package| package.name == name)
    }

    /// The directories of the packages that are taken by their paths: what may change.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        let paths = self.packages.iter().filter(|package| package.source.is_none());
        paths.filter_map(|package| package.manifest_path.parent())
    }

    /// The shortest way from one package down to another: both, and those between them.
    pub(crate) fn way(&self, from: &PackageId, to: &PackageId) -> Option<Vec<&Package>> {
        let mut ways = VecDeque::from([vec![from]]);
        let mut seen = vec![from];
        while let Some(way) = ways.pop_front() {
            let last = *way.last()?;
            if last == to {
                return way.into_iter().map(|id| self.package(id)).collect();
            }
            for link in self.links(last) {
                if !seen.contains(&&link.pkg) {
                    seen.push(&link.pkg);
                    ways.push_back(way.iter().copied().chain([&link.pkg]).collect());
                }
            }
        }
        None
    }

    fn links(&self, of: &PackageId) -> &[Link] {
        let node = self.resolve.nodes.iter().find(|node| node.id == *of);
        node.map_or(&[], |node| &node.deps)
    }
}

/// Asks what a build of the crate in `directory` takes, and has what is missing downloaded.
///
/// Tells what Cargo does as it does it, on standard error; but why it fails is in the error alone.
pub(crate) fn metadata(directory: &Path, lock: Lock) -> Result<Metadata, CargoError> {
    resolve(cargo(directory, [], lock))
}

/// Asks the same, without a word to anyone.
pub(crate) fn quiet_metadata(directory: &Path) -> Result<Metadata, CargoError> {
    resolve(cargo(directory, ["--quiet"], Lock::Extend))
}

fn resolve(mut cargo: Command) -> Result<Metadata, CargoError> {
    let mut child = cargo
        .args(["metadata", "--format-version=1", "--filter-platform", &host()?])
        // Its words are read.
        .env("CARGO_TERM_COLOR", "never")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    let words = child.stderr.take();
    let words = std::thread::spawn(move || words.map(told_until_error).unwrap_or_default());
    let output = child.wait_with_output().map_err(CargoError::NotRun)?;
    let refusal = words.join().unwrap_or_default();
    if !output.status.success() {
        return Err(CargoError::Unresolved(refusal));
    }
    serde_json::from_slice(&output.stdout).map_err(CargoError::NotUnderstood)
}

/// Builds the crate in `directory`; returns the path of its program.
///
/// All that Cargo and the compiler say goes to standard error as it comes.
pub(crate) fn build(directory: &Path, profile: Profile, lock: Lock) -> Result<PathBuf, CargoError> {
    let format = if io::stderr().is_terminal() {
        "--message-format=json-diagnostic-rendered-ansi"
    } else {
        "--message-format=json"
    };
    let mut cargo = cargo(directory, ["build", format], lock);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let mut child = cargo.stdout(Stdio::piped()).spawn().map_err(not_run)?;
    let mut refused = None;
    let mut program = None;
    let messages = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    for line in messages.map_while(Result::ok) {
        // What a build script prints comes here too; only messages matter.
        match serde_json::from_str(&line) {
            Ok(Message::Diagnostic { package_id, message }) => {
                if let Some(rendered) = message.rendered {
                    eprint!("{rendered}");
                }
                if message.level == "error" {
                    refused.get_or_insert(package_id);
                }
            }
            Ok(Message::Artifact { executable: Some(path) }) => program = Some(path),
            _ => {}
        }
    }
    let succeeded = child.wait().map_err(CargoError::NotRun)?.success();
    match (succeeded, program, refused) {
        (true, Some(program), _) => Ok(program),
        (false, _, Some(package)) => Err(CargoError::DoesNotCompile(package)),
        _ => Err(CargoError::BuildFailed),
    }
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Diagnostic { package_id: PackageId, message: Diagnostic },
    #[serde(rename = "compiler-artifact")]
    Artifact { executable: Option<PathBuf> },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
    level: String,
}

/// Cargo, run in the crate's own directory: what it builds depends on that and on the user's
/// configuration, and not on where the user stands.
fn cargo<'a>(
    directory: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    lock: Lock,
) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments.into_iter().map(OsStr::new)).current_dir(directory).stdin(Stdio::null());
    if lock == Lock::Keep {
        cargo.arg("--locked");
    }
    cargo
}

/// The machine that Cargo builds for, as it names it. Fails if there is no Cargo.
fn host() -> Result<String, CargoError> {
    let output = Command::new("cargo").arg("-vV").stdin(Stdio::null()).output().map_err(not_run)?;
    let told = String::from_utf8_lossy(&output.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    // A rustup that has no toolchain is there, and says so.
    let words = || String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    host.map(str::to_owned).ok_or_else(|| CargoError::Unresolved(words()))
}

fn not_run(error: io::Error) -> CargoError {
    if error.kind() == ErrorKind::NotFound {
        return CargoError::NoToolchain;
    }
    CargoError::NotRun(error)
}

/// Passes on what Cargo says to standard error up to the first error, and returns that and the rest.
fn told_until_error(words: impl io::Read) -> String {
    let mut refusal = String::new();
    for line in BufReader::new(words).lines().map_while(Result::ok) {
        if refusal.is_empty() && !line.starts_with("error") {
            eprintln!("{line}");
        } else {
            refusal.push_str(&line);
            refusal.push('\n');
        }
    }
    refusal.truncate(refusal.trim_end().len());
    refusal
}
