//! What can go wrong: at opening, and in a call.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use skep::store::StoreError;

/// Why a store can't be opened, checked or copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file or a directory can't be used.
    #[error("can't {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried: `make`, `read`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another server has the directory.
    #[error(
        "{} is in use by {holder}: stop that server, or use another data directory",
        data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// `process 4711`, as far as it's known.
        holder: String,
    },
    /// The database is none, or not whole.
    #[error(
        "{} is damaged: {what}; put a backup in its place, or use another data directory",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The database is another program's.
    #[error("{} is not a database of Skep's: use another data directory", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The database was written by a later version.
    #[error(
        "{} was written by a newer Skep: its format is version {found}, and this one, {}, knows \
         versions up to {known}; use the newer Skep, or another data directory",
        path.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// The file system can't hold a database that several connections use at once.
    #[error(
        "{} is on a file system without shared memory, as of a network: use a data directory on \
         a local disk",
        path.display()
    )]
    NoSharedMemory {
        /// The database.
        path: PathBuf,
    },
    /// What was written last isn't in the database yet, and the directory doesn't let it be read.
    #[error(
        "can't read {}: what was written last is in its `-wal` file, which can only be read in a \
         directory that can be written to; make that one writable, or copy all of it, also the \
         files `-wal` and `-shm`, to one that is",
        path.display()
    )]
    LogLeft {
        /// The database.
        path: PathBuf,
    },
    /// SQLite says no.
    #[error("can't use {}: {source}{}", path.display(), sqlite_remedy(source))]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Not a place where this store keeps things.
    #[error(
        "`{0}` is no store: `sqlite` keeps its files in the data directory, and takes nothing \
         behind its name"
    )]
    Address(String),
    /// A check has found damage.
    #[error("{} is damaged:\n{}", data_dir.display(), findings.join("\n"))]
    Findings {
        /// The data directory.
        data_dir: PathBuf,
        /// What is wrong, a line each.
        findings: Vec<String>,
    },
    /// There is something where a backup is to be.
    #[error("{} is there already: a backup goes into a directory of its own", .0.display())]
    Occupied(PathBuf),
}

impl OpenError {
    /// For `map_err`: what was tried with which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// For `map_err`: what SQLite says of the database at `path`.
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                    Self::Damaged { path, what: source.to_string() }
                }
                _ => Self::Sqlite { path, source },
            }
        }
    }
}

const OWN: &str =
    "; a server has to own its data directory: change who owns it, or use another one";
const ROOM: &str = "; make room, or use another data directory";

/// What to do about a file that can't be used, where that is plain.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OWN,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ROOM,
        _ => "",
    }
}

/// The same about the database.
fn sqlite_remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => OWN,
        Some(ErrorCode::DiskFull) => ROOM,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another program has locked it: end that program, and start again"
        }
        _ => "",
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", words(.0))]
    Sqlite(#[from] rusqlite::Error),
    #[error("{}: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("the store is damaged: {0}; look closer with `skep store check`")]
    Damaged(String),
    /// The call itself is refused, and has changed nothing.
    #[error("{0}")]
    Refused(StoreError),
}

impl Failure {
    /// A call that asks for something impossible.
    pub(crate) fn refused(why: String) -> Self {
        Self::Refused(StoreError::Unavailable(why))
    }

    /// Whether other calls would have failed too, whatever they ask for.
    pub(crate) fn is_everyones(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::NotADatabase
                )
            ),
            // A full disk may have room for a smaller one; a log file that fails is one job's.
            Self::Log { .. } | Self::Damaged(_) | Self::Refused(_) => false,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            failure => Self::Unavailable(failure.to_string()),
        }
    }
}

/// What SQLite says, and what it means where that isn't plain.
fn words(error: &rusqlite::Error) -> String {
    let meaning = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::SystemIoFailure) => "the disk fails",
        Some(ErrorCode::ReadOnly) => "the database can't be written",
        Some(ErrorCode::DatabaseBusy) => "another program has locked the database",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the database is damaged, look closer with `skep store check`"
        }
        _ => return format!("SQLite: {error}"),
    };
    format!("{meaning} (SQLite: {error})")
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_sqlite_says_at_opening_comes_with_what_to_do() {
        let locked = "; another program has locked it: end that program, and start again";
        for (code, remedy) in [
            (ffi::SQLITE_READONLY, OWN),
            (ffi::SQLITE_CANTOPEN, OWN),
            (ffi::SQLITE_FULL, ROOM),
            (ffi::SQLITE_BUSY, locked),
            (ffi::SQLITE_ERROR, ""),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let said = format!("can't use a/b: {error}{remedy}");
            assert_eq!(OpenError::sqlite(Path::new("a/b"))(error).to_string(), said);
        }
    }
}
