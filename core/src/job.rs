//! Jobs: one run of one operation each.
//!
//! [`JobContext`] is what a handler holds; [`JobRecord`] is what the store keeps; [`EventStream`]
//! and [`FrameReader`] read a job's log.

mod checkpoint;
mod context;
mod emit;
mod event;
mod first_poll;
mod flush;
mod handler;
mod id;
mod live;
mod log;
mod outcome;
mod record;
mod relay;
mod run;
mod stint;
mod stream;
mod turn;

pub(crate) use self::context::Attempt;
pub use self::context::{ChildStream, JobContext};
pub(crate) use self::event::frames;
pub use self::event::{End, Event, EventKind, LogLevel, LogLine, Progress};
pub(crate) use self::flush::Flusher;
pub use self::id::{InvalidJobId, JobId};
pub(crate) use self::live::{Job, Parent, Stop};
pub(crate) use self::log::Log;
pub(crate) use self::outcome::{NotAgain, crashed};
pub use self::record::{
    Caller, JobRecord, JobRequest, JobState, JobSummary, Priority, Start, StateName,
};
pub use self::relay::Output;
pub(crate) use self::stream::Source;
pub use self::stream::{EventStream, FrameReader};
pub(crate) use self::turn::{Queued, Run, Wait};
