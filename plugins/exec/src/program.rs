//! A program that can be started: where it is, and what it's given.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// What a program inherits of the server's environment, all of it: the server's own variables may
/// hold secrets.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// What is started, with what.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Absolute, or a name that is looked for along `PATH`.
    path: PathBuf,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    /// Absolute.
    working_dir: PathBuf,
}

/// Why there is nothing to start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("is empty: its first word is the program")]
    Empty,
    #[error("there is no program `{0}` along the PATH")]
    NotOnPath(String),
    #[error("there is no file `{}`", .0.display())]
    Missing(PathBuf),
    #[error("`{}` is not executable: chmod +x it", .0.display())]
    NotExecutable(PathBuf),
}

impl Program {
    /// Finds what `command` starts. Its first word is a name along `PATH`, or a path that is relative
    /// to `working_dir`.
    pub(crate) fn find(
        command: Vec<String>,
        env: BTreeMap<String, String>,
        working_dir: PathBuf,
    ) -> Result<Self, ProgramError> {
        let mut words = command.into_iter();
        let name = words.next().filter(|name| !name.is_empty()).ok_or(ProgramError::Empty)?;
        let path = if name.contains('/') {
            let path = working_dir.join(&name);
            if !path.is_file() {
                return Err(ProgramError::Missing(path));
            }
            if !is_executable(&path) {
                return Err(ProgramError::NotExecutable(path));
            }
            path
        } else {
            let along = env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
            let along = along.unwrap_or_default();
            // A relative entry is one of the folder that the program runs in.
            let mut places =
                std::env::split_paths(&along).map(|folder| working_dir.join(folder).join(&name));
            if !places.any(|path| is_executable(&path)) {
                return Err(ProgramError::NotOnPath(name));
            }
            name.into()
        };
        Ok(Self { path, arguments: words.collect(), env, working_dir })
    }

    /// The executable `file` itself, with one argument, in `working_dir`.
    pub(crate) fn file(file: PathBuf, argument: &str, working_dir: PathBuf) -> Self {
        let arguments = vec![argument.to_owned()];
        Self { path: file, arguments, env: BTreeMap::new(), working_dir }
    }

    /// What starts it, in a clean environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&self.env)
            .current_dir(&self.working_dir);
        command
    }

    /// Where it is, for the server's log.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether `path` is a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
