//! The store that keeps jobs over restarts. Linking the crate makes it a choice of
//! `skep serve --store`: `use skep_sqlite as _;`.
//!
//! A data directory holds
//!
//! - `jobs.sqlite3`, an SQLite database (WAL): records, documents, and logs up to 64 KiB;
//! - `logs/`: a file for each longer log, append-only, whose length the database knows;
//! - `skep.lock`: the lock of the server that uses them.
//!
//! The parts:
//!
//! - `store.rs`: [`SqliteStore`], each call to the writer or to the readers
//! - `writer.rs`: the thread that gathers calls into commits; `writer/transaction.rs`: one commit;
//!   `writer/database_log.rs`: what bounds the database's own log
//! - `change/`: what a commit does for each call; `change/sweep.rs`, `forget.rs`: what is no
//!   longer kept
//! - `reader.rs`: threads that read; `query.rs` and `log_reader.rs`: what they read
//! - `log_files.rs`: the files of long logs
//! - `rows.rs`: records as rows; `schema.rs`: the tables, and older versions of them
//! - `open.rs`, `lock.rs`, `disk.rs`: from a directory to a store; `check.rs`, `backup.rs`: `skep store`
//!
//! What holds, whatever happens to the process:
//!
//! - A call that has been answered is on the disk: its commit was synced, and before it the log
//!   files that the commit speaks of.
//! - A call that failed has left nothing that this process ever shows. What it wrote behind a log's
//!   end is cut off or written over. If it was the commit's sync that failed and the process dies
//!   before the next commit, the call may turn out to be done, wholly: the store's contract allows it.
//! - A sync that failed is never asked for again as if nothing had been: the system may have dropped
//!   what it couldn't write. What wasn't synced is cut off, and comes again only by being written
//!   anew, to a file that is opened anew.
//! - What isn't in a log as it was written is never shown: its readers are told so. A job whose log
//!   file was removed or cut off goes on, behind what is lost.
//! - A file without a job is removed by the sweep after the next start.
//!
//! ```
//! use skep::job::JobRecord;
//! use skep::store::Store;
//! use skep_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let data_dir = tempfile::tempdir()?;
//! # let data_dir = data_dir.path();
//! let store = SqliteStore::open(data_dir)?;
//! let job = JobRecord::new("hello", serde_json::value::to_raw_value("Ada")?.into());
//! store.accept(&job).await?;
//! drop(store);
//!
//! // After a restart the job is there, and somebody has to run it.
//! let store = SqliteStore::open(data_dir)?;
//! assert_eq!(store.claim(10).await?[0].record.id, job.id);
//! # Ok(())
//! # }
//! ```

mod backup;
mod change;
mod check;
mod disk;
mod error;
mod forget;
mod lock;
mod log_files;
mod log_reader;
mod open;
mod query;
mod reader;
mod registration;
mod rows;
mod schema;
mod store;
mod writer;

pub use self::error::OpenError;
pub use self::store::SqliteStore;
pub use self::writer::Stats;
