//! `skep store check`: looks at everything and changes nothing, while a server may be at work.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, Row};
use skep::JobId;

use crate::error::{Failure, OpenError};
use crate::log_files;
use crate::open::{DATABASE, open_to_look};
use crate::query::has_log_file;
use crate::reader::in_snapshot;
use crate::rows::{self, FIRST_END};
use crate::schema;

/// How many things that are wrong are told.
const MOST: usize = 20;

/// Looks for damage; says what it looked at.
pub(crate) fn check(data_dir: &Path) -> Result<String, OpenError> {
    let database = data_dir.join(DATABASE);
    let db = open_to_look(&database)?;
    let version = schema::version(&db, &database)?;
    // Sees what has happened since the snapshot.
    let now = open_to_look(&database)?;
    let mut check = Check {
        logs: data_dir.join(log_files::DIRECTORY),
        now: &now,
        findings: Vec::new(),
        more: 0,
        segments: 0,
        files: 0,
        bytes: 0,
    };
    let looked =
        in_snapshot(&db, |db| check.database(db, version).and_then(|()| check.all_logs(db)));
    if let Err(failure) = looked {
        check.find(failure.to_string());
    }
    if check.findings.is_empty() {
        return check.summary(&db, version).map_err(|failure| OpenError::Findings {
            data_dir: data_dir.to_owned(),
            findings: vec![failure.to_string()],
        });
    }
    if check.more > 0 {
        check.findings.push(format!("and {} more", check.more));
    }
    Err(OpenError::Findings { data_dir: data_dir.to_owned(), findings: check.findings })
}

struct Check<'a> {
    logs: std::path::PathBuf,
    now: &'a Connection,
    findings: Vec<String>,
    more: usize,
    segments: u64,
    files: u64,
    bytes: u64,
}

/// The log that is being looked at, as far as it's seen.
struct Log {
    job: JobId,
    last: u64,
    end: u64,
    is_in_file: bool,
    file: Option<File>,
}

impl Check<'_> {
    fn find(&mut self, what: String) {
        if self.findings.len() < MOST {
            self.findings.push(what);
        } else {
            self.more += 1;
        }
    }

    /// The database as such, and what it says twice.
    fn database(&mut self, db: &Connection, version: i64) -> Result<(), Failure> {
        let mut integrity = db.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
        let mut rows = integrity.query([])?;
        while let Some(row) = rows.next()? {
            match row.get::<_, String>(0)? {
                fine if fine == "ok" => {}
                what => self.find(format!("{DATABASE}: {what}")),
            }
        }
        let number = |query: &str| db.query_row(query, [], |row| row.get::<_, i64>(0));
        let mut strays =
            number("SELECT count(*) FROM jobs WHERE id NOT IN (SELECT job FROM inputs)")?;
        let tables = ["inputs", "segments", "checkpoints"];
        // Version 1 has no checkpoints.
        for table in &tables[..if version < 2 { 2 } else { 3 }] {
            strays += number(&format!(
                "SELECT count(*) FROM {table} WHERE job NOT IN (SELECT id FROM jobs)"
            ))?;
        }
        if strays > 0 {
            self.find(format!(
                "{strays} inputs, segments or checkpoints are missing or have no job"
            ));
        }
        let bytes = number(
            "SELECT (SELECT coalesce(sum(octet_length(input)), 0) FROM inputs) \
             + (SELECT coalesce(sum(octet_length(outcome)), 0) FROM jobs) \
             + (SELECT coalesce(sum(size), 0) FROM segments)",
        )?;
        let ended = number(&format!("SELECT count(*) FROM jobs WHERE state >= {FIRST_END}"))?;
        for (what, found, told) in [
            ("bytes", bytes, number("SELECT bytes FROM totals")?),
            ("ended jobs", ended, number("SELECT ended FROM totals")?),
        ] {
            if found != told {
                self.find(format!("{found} {what} are stored, and {told} are counted"));
            }
        }
        Ok(())
    }

    fn all_logs(&mut self, db: &Connection) -> Result<(), Failure> {
        let mut segments = db.prepare(
            "SELECT job, first, last, start, size, checksum, bytes FROM segments ORDER BY job, last",
        )?;
        let mut rows = segments.query([])?;
        let mut log = None;
        while let Some(row) = rows.next()? {
            let job = rows::id(row, 0)?;
            let mut seen = match log.take() {
                Some(log @ Log { .. }) if log.job == job => log,
                _ => self.begin(job, row)?,
            };
            if let Err(what) = self.segment(&mut seen, row)? {
                self.find(format!("the log of job {job}: {what}"));
            }
            log = Some(seen);
        }
        Ok(())
    }

    fn begin(&mut self, job: JobId, row: &Row<'_>) -> Result<Log, Failure> {
        let is_in_file = row.get_ref(6)?.as_blob_or_null().is_ok_and(|bytes| bytes.is_none());
        let mut log = Log { job, last: 0, end: 0, is_in_file, file: None };
        if !is_in_file {
            return Ok(log);
        }
        self.files += 1;
        match File::open(log_files::path(&self.logs, job)) {
            Ok(file) => log.file = Some(file),
            // Forgotten since the snapshot was taken.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && !has_log_file(self.now, job)? => {}
            Err(error) => self.find(format!("the log file of job {job}: {error}")),
        }
        Ok(log)
    }

    /// Looks at one segment: `Err` says what is wrong with it.
    fn segment(&mut self, log: &mut Log, row: &Row<'_>) -> Result<Result<(), String>, Failure> {
        let (first, last): (u64, u64) = (row.get(1)?, row.get(2)?);
        let (start, size): (u64, usize) = (row.get(3)?, row.get(4)?);
        let checksum: u32 = row.get(5)?;
        let stored: Option<Vec<u8>> = row.get(6)?;
        self.segments += 1;
        self.bytes += size as u64;
        let follows = first > log.last && last >= first && start == log.end;
        (log.last, log.end) = (last, start + size as u64);
        if !follows || stored.is_none() != log.is_in_file {
            return Ok(Err(format!("events {first} to {last} don't follow what is before them")));
        }
        let bytes = match (stored, &log.file) {
            (Some(bytes), _) => bytes,
            // Told already, or forgotten.
            (None, None) => return Ok(Ok(())),
            (None, Some(file)) => {
                let mut bytes = vec![0; size];
                if let Err(error) = file.read_exact_at(&mut bytes, start) {
                    return Ok(Err(format!(
                        "events {first} to {last} aren't in its file: {error}"
                    )));
                }
                bytes
            }
        };
        let is_whole = bytes.len() == size
            && bytes.starts_with(format!("id: {first}\n").as_bytes())
            && bytes.ends_with(b"\n\n")
            && crc32fast::hash(&bytes) == checksum;
        let what = || format!("events {first} to {last} aren't what was written");
        Ok(is_whole.then_some(()).ok_or_else(what))
    }

    /// Log files that belong to no job, which isn't damage.
    fn orphans(&self) -> Result<Vec<JobId>, Failure> {
        let mut orphans = Vec::new();
        for shard in log_files::shards() {
            let path = self.logs.join(shard);
            let jobs = log_files::jobs_in(&path);
            for job in jobs.map_err(|source| Failure::Log { path, source })? {
                if !has_log_file(self.now, job)? {
                    orphans.push(job);
                }
            }
        }
        Ok(orphans)
    }

    fn summary(&self, db: &Connection, version: i64) -> Result<String, Failure> {
        let jobs: u64 = db.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
        let (segments, files, bytes) = (self.segments, self.files, self.bytes);
        let mut summary = format!(
            "format {version}, {jobs} jobs, {segments} segments of logs with {bytes} bytes, \
             {files} log files: all whole"
        );
        let orphans = self.orphans()?;
        if !orphans.is_empty() {
            let names: Vec<_> = orphans.iter().take(MOST).map(JobId::to_string).collect();
            summary.push_str(&format!(
                "; {} log files have no job, and are removed after the next start of a server: {}",
                orphans.len(),
                names.join(", ")
            ));
        }
        Ok(summary)
    }
}
