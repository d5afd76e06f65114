//! `skep store backup`: a whole copy, while a server may be at work.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use skep::JobId;

use crate::error::OpenError;
use crate::open::{DATABASE, open_to_look};
use crate::{disk, forget, log_files};

/// Copies the store of `data_dir` into `to`, which is a data directory then; says what it copied.
///
/// The database comes first: the copy says which logs there are and how long. The files of logs
/// only ever grow, so what it speaks of is in them, however long the server goes on meanwhile; a
/// job that it forgets meanwhile is forgotten in the copy too.
pub(crate) fn backup(data_dir: &Path, to: &Path) -> Result<String, OpenError> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) => false,
    };
    if !is_free {
        return Err(OpenError::Occupied(to.to_owned()));
    }
    let source = open_to_look(&data_dir.join(DATABASE))?;
    let name = to.file_name().ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidFilename, "it has no name");
        OpenError::io("make", to)(error)
    })?;
    let parent = disk::parent(to);
    disk::make_directory(parent)?;
    let partial = Partial::make(parent, name)?;
    let copied = copy(&source, data_dir, &partial.0)?;
    // Only a whole copy ever has the name that was asked for.
    fs::rename(&partial.0, parent.join(name)).map_err(OpenError::io("make", to))?;
    sync(parent)?;
    Ok(format!("{copied} to {}", to.display()))
}

/// A copy that isn't whole yet. What is left of it when it's dropped is removed.
struct Partial(PathBuf);

impl Partial {
    fn make(parent: &Path, name: &OsStr) -> Result<Self, OpenError> {
        let mut name = name.to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let path = parent.join(name);
        fs::create_dir(&path).map_err(OpenError::io("make", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It's been renamed, if all went well.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(source: &Connection, data_dir: &Path, to: &Path) -> Result<String, OpenError> {
    let database = to.join(DATABASE);
    let failed = OpenError::sqlite(&database);
    // SQLite takes a path as text.
    let name = database.to_str().ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidFilename, "the path is not UTF-8");
        OpenError::io("write to", &database)(error)
    })?;
    source
        .execute("VACUUM INTO ?1", [name])
        .map_err(OpenError::sqlite(&data_dir.join(DATABASE)))?;
    let db = Connection::open(&database).map_err(&failed)?;
    let files = logs(&db).map_err(&failed)?;
    let (from, logs) = (data_dir.join(log_files::DIRECTORY), to.join(log_files::DIRECTORY));
    fs::create_dir(&logs).map_err(OpenError::io("make", &logs))?;
    let mut bytes = 0;
    for (job, size) in &files {
        if copy_log(&from, &logs, *job, *size)? {
            bytes += size;
        } else if is_kept(source, *job).map_err(&failed)? {
            let (path, what) = (log_files::path(&from, *job), "it's missing".to_owned());
            return Err(OpenError::Damaged { path, what });
        } else {
            forget(&db, *job).map_err(&failed)?;
        }
    }
    let jobs = db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, u64>(0));
    let jobs = jobs.map_err(&failed)?;
    db.close().map_err(|(_, error)| failed(error))?;
    for directory in log_files::shards().map(|shard| logs.join(shard)).filter(|path| path.exists())
    {
        sync(&directory)?;
    }
    for path in [&database, &logs, to] {
        sync(path)?;
    }
    let size = fs::metadata(&database).map_err(OpenError::io("read", &database))?.len();
    Ok(format!("copied {jobs} jobs: a database of {size} bytes, and {bytes} bytes of long logs"))
}

/// The logs that have files, and their sizes.
fn logs(db: &Connection) -> rusqlite::Result<Vec<(JobId, u64)>> {
    let mut found =
        db.prepare("SELECT job, max(start + size) FROM segments WHERE bytes IS NULL GROUP BY job")?;
    let logs = found.query_map([], |row| Ok((JobId::from_bytes(row.get(0)?), row.get(1)?)))?;
    logs.collect()
}

/// Copies the first `size` bytes of a log's file. Returns whether it's still there.
fn copy_log(from: &Path, to: &Path, job: JobId, size: u64) -> Result<bool, OpenError> {
    let (from, to) = (log_files::path(from, job), log_files::path(to, job));
    let file = match File::open(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(OpenError::io("read", &from))?,
    };
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).map_err(OpenError::io("make", directory))?;
    }
    let written = File::create_new(&to).and_then(|mut copy| {
        let copied = io::copy(&mut file.take(size), &mut copy)?;
        copy.sync_all().map(|()| copied)
    });
    if written.map_err(OpenError::io("write to", &to))? == size {
        return Ok(true);
    }
    let what = format!("it has less than the {size} bytes of its log");
    Err(OpenError::Damaged { path: from, what })
}

fn is_kept(db: &Connection, job: JobId) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM jobs WHERE id = ?1")?.exists([job.as_bytes()])
}

/// Forgets a job, as the server did while it was being copied.
fn forget(db: &Connection, job: JobId) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    let gone = forget::forget(&transaction, job)?;
    transaction.execute(
        "UPDATE totals SET bytes = bytes - ?1, ended = ended - ?2",
        (gone.bytes, gone.has_ended),
    )?;
    transaction.commit()
}

fn sync(path: &Path) -> Result<(), OpenError> {
    disk::sync(path).map_err(OpenError::io("sync", path))
}
