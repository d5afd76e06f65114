//! What the writer does for each call.

mod documents;
mod jobs;
mod log;
mod sweep;

pub(crate) use self::documents::{Delete, Put};
pub(crate) use self::jobs::{Accept, Cancel, Checkpoint, End, Update};
pub(crate) use self::log::{Append, Tail};
pub(crate) use self::sweep::{Orphans, Step};
