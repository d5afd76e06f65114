//! From a data directory to a store that can be used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use crate::error::OpenError;
use crate::lock::Lock;
use crate::log_files;
use crate::reader::STATEMENTS;
use crate::schema;

/// The database, in the data directory.
pub(crate) const DATABASE: &str = "jobs.sqlite3";

/// A record with a small input is some hundred bytes, a small log as many: larger pages make fewer
/// of them to be written.
const PAGE: i64 = 16 * 1024;

/// How many pages the database's log has when they're brought into the database. More are brought
/// in more cheaply, since jobs that come and go are written once and not thrice, but at one go.
const CHECKPOINT: i64 = 2048;

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
    fs::create_dir_all(data_dir).map_err(OpenError::io("make", data_dir))?;
    let lock = Lock::take(data_dir)?;
    let database = data_dir.join(DATABASE);
    let logs = data_dir.join(log_files::DIRECTORY);
    let is_empty = fs::metadata(&database).is_ok_and(|metadata| metadata.len() == 0);
    // The files come after the database: something has cut it off.
    if is_empty && logs.exists() {
        return Err(OpenError::Damaged { path: database, what: "it's empty".to_owned() });
    }
    let db = connect(&database)?;
    fs::create_dir_all(&logs).map_err(OpenError::io("make", &logs))?;
    let synced = File::open(data_dir).and_then(|directory| directory.sync_all());
    synced.map_err(OpenError::io("sync", data_dir))?;
    Ok(Opened { lock, db, database, logs })
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
            let uri = format!("file:{}?immutable=1", escaped(path));
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            let db = Connection::open_with_flags(uri, flags).map_err(&failed)?;
            schema::version(&db, path)?;
            Ok(db)
        }
        Err(error) => Err(error),
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
