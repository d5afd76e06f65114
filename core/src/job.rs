//! Jobs: one run of one operation each.
//!
//! [`JobContext`] is what a handler holds; [`JobRecord`] is what the store keeps; [`EventStream`]
//! and [`FrameReader`] read a job's log.

mod context;
mod event;
mod handler;
mod id;
mod log;
mod record;
mod run;
mod stream;

pub use self::context::{ChildStream, JobContext};
pub(crate) use self::event::frames;
pub use self::event::{End, Event, EventKind, LogLevel, LogLine, Progress};
pub use self::id::{InvalidJobId, JobId};
pub use self::record::{Caller, JobRecord, JobRequest, JobState, Start};
pub(crate) use self::run::{Job, Run, Stop};
pub(crate) use self::stream::Source;
pub use self::stream::{EventStream, FrameReader};
