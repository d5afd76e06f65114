//! What the SQLite store promises: the suite that every store passes, and its own.

mod busy;
mod check;
mod claim;
mod conformance;
mod crash;
mod full_disk;
mod group_commit;
mod logs;
mod opening;
mod sample;
mod sweep;
mod versions;
