//! From a data directory to a store that can be used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, ToSql};

use crate::error::OpenError;
use crate::lock::Lock;
use crate::reader::STATEMENTS;
use crate::writer::path_of_log;
use crate::{disk, log_files, schema};

/// The database, in the data directory.
pub(crate) const DATABASE: &str = "jobs.sqlite3";

/// A commit writes every page that it changes, however little of it, and mostly it's one of a few
/// jobs: small pages make less of that. (Of 16 KiB: a quarter fewer jobs a second, 16 at a time.)
const PAGE: i64 = 4 * 1024;

/// How many pages the database's log has when they're brought into the database. More are brought
/// in more cheaply, since jobs that come and go are written once and not thrice, but at one go.
const CHECKPOINT: i64 = 8192;

/// How large that log's file stays when it's empty, bytes.
const LOG_KEPT: i64 = 32 << 20;

/// The page cache, KiB.
const CACHE: i64 = 32 * 1024;

/// How long another program's lock is waited for: someone's `sqlite3` may look at the database.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that is ours.
pub(crate) struct Opened {
    pub(crate) lock: Lock,
    /// The writer's connection.
    pub(crate) db: Connection,
    pub(crate) database: PathBuf,
    /// The directory of the log files.
    pub(crate) logs: PathBuf,
}

/// Takes the directory, makes what isn't there, and brings the database to this version.
pub(crate) fn open(data_dir: &Path) -> Result<Opened, OpenError> {
    disk::make_directory(data_dir)?;
    let lock = Lock::take(data_dir)?;
    let database = data_dir.join(DATABASE);
    let logs = data_dir.join(log_files::DIRECTORY);
    check_presence(&database, &logs)?;
    let db = connect(&database)?;
    disk::make_directory(&logs)?;
    // Also what was made in them by a process that was killed before it could.
    for directory in [data_dir, &logs] {
        disk::sync(directory).map_err(OpenError::io("sync", directory))?;
    }
    Ok(Opened { lock, db, database, logs })
}

/// Sees a database that something has removed or emptied: a new one would know none of the logs, and
/// the sweep would remove them all. A first start that was killed leaves no logs without a database,
/// since they're made after it.
fn check_presence(database: &Path, logs: &Path) -> Result<(), OpenError> {
    let has_logs = || fs::read_dir(logs).is_ok_and(|mut entries| entries.next().is_some());
    let what = match fs::metadata(database) {
        Ok(metadata) if metadata.len() == 0 && logs.exists() => "it's empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_logs() => {
            "it's missing, and its logs are there"
        }
        _ => return Ok(()),
    };
    Err(OpenError::Damaged { path: database.to_owned(), what: what.to_owned() })
}

/// Opens a database that nothing is to be changed in, whether a server uses it or not.
pub(crate) fn open_to_look(path: &Path) -> Result<Connection, OpenError> {
    let failed = OpenError::sqlite(path);
    fs::metadata(path).map_err(OpenError::io("read", path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(&failed)?;
    db.busy_timeout(PATIENCE).map_err(&failed)?;
    match schema::version(&db, path) {
        Ok(_) => Ok(db),
        // A directory that can't be written to, where no server has left the files that those who
        // look share with it: so nobody writes.
        Err(OpenError::Sqlite { source, .. })
            if matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
            ) =>
        {
            if has_log(path) {
                return Err(OpenError::LogLeft { path: path.to_owned() });
            }
            let uri = format!("file:{}?immutable=1", escaped(path));
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            let db = Connection::open_with_flags(uri, flags).map_err(&failed)?;
            schema::version(&db, path)?;
            Ok(db)
        }
        Err(error) => Err(error),
    }
}

/// Whether something may have been written that the database itself doesn't have yet.
fn has_log(path: &Path) -> bool {
    match fs::metadata(path_of_log(path)) {
        Ok(metadata) => metadata.len() > 0,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// A path as a part of an URI.
fn escaped(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let failed = OpenError::sqlite(path);
    let mut db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(&failed)?;
    db.busy_timeout(PATIENCE).map_err(&failed)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // It's opened all the same, and only writing would fail.
    if db.is_readonly(MAIN_DB).map_err(&failed)? {
        return Err(OpenError::io("write to", path)(io::ErrorKind::PermissionDenied.into()));
    }
    // Before anything is changed in it: a checkpoint would make up for what was cut off, with zeros.
    let is_new = schema::version(&db, path)? == 0;
    check_size(&db, path)?;
    if is_new {
        format(&db).map_err(&failed)?;
    }
    configure(&db, path)?;
    schema::migrate(&mut db, path)?;
    Ok(db)
}

/// What only counts before there's a first table.
fn format(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "page_size", PAGE)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

fn configure(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let set = |name, value: &dyn ToSql| db.pragma_update(None, name, value);
    let failed = OpenError::sqlite(path);
    let mode: String =
        db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&failed)?;
    if mode != "wal" {
        return Err(OpenError::NoSharedMemory { path: path.to_owned() });
    }
    // A commit is on the disk when it's told, on macOS too.
    set("synchronous", &"FULL").map_err(&failed)?;
    set("fullfsync", &true).map_err(&failed)?;
    set("wal_autocheckpoint", &CHECKPOINT).map_err(&failed)?;
    set("journal_size_limit", &LOG_KEPT).map_err(&failed)?;
    set("cache_size", &-CACHE).map_err(&failed)
}

/// Sees a database that was cut off, which SQLite itself does only when it comes to a missing page.
fn check_size(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = OpenError::sqlite(path);
    // Pages that are only in the log so far needn't be in the file.
    let (busy, in_log, brought_in): (i64, i64, i64) = db
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .map_err(&failed)?;
    if busy != 0 || in_log != brought_in {
        return Ok(());
    }
    let expected = size(db).map_err(&failed)?;
    let found = fs::metadata(path).map_err(OpenError::io("read", path))?.len();
    if found >= expected {
        return Ok(());
    }
    let what = format!("it has {found} bytes, and should have {expected}");
    Err(OpenError::Damaged { path: path.to_owned(), what })
}

/// How many bytes a database takes, once all of its log is in it.
pub(crate) fn size(db: &Connection) -> rusqlite::Result<u64> {
    let number = |query| db.query_row(query, [], |row| row.get::<_, u64>(0));
    Ok(number("PRAGMA page_count")? * number("PRAGMA page_size")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_syncs_its_log_with_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { db, .. } = open(dir.path()).unwrap();
        let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        // FULL, and on macOS to the disk itself.
        assert_eq!((number("synchronous"), number("fullfsync")), (2, 1));
    }
}
