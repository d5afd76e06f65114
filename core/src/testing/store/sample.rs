//! Jobs and logs to try a store with.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;

use crate::clock;
use crate::job::{Caller, JobId, JobRecord, JobState, Priority};
use crate::problem::{Code, Problem};
use crate::store::{Position, Segment, Store};

/// JSON as it's written, which no store may tidy.
pub(super) fn raw(text: impl Into<String>) -> Arc<RawValue> {
    RawValue::from_string(text.into()).unwrap().into()
}

/// A JSON text of about `size` bytes.
pub(super) fn text_of(size: usize) -> Arc<RawValue> {
    raw(format!("\"{}\"", "x".repeat(size)))
}

/// A job like most.
pub(super) fn job() -> JobRecord {
    JobRecord::new("echo", raw("{}"))
}

/// The same, `count` times, the oldest first.
pub(super) fn jobs(count: usize) -> Vec<JobRecord> {
    (0..count).map(|_| job()).collect()
}

/// A job with an idempotency key.
pub(super) fn job_with_key(key: &str) -> JobRecord {
    JobRecord { idempotency_key: Some(key.into()), ..job() }
}

/// A moment with all the digits that are kept.
pub(super) fn moment(second: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + second, 123_456_000).unwrap()
}

/// Jobs that differ in all that a job may be accepted with.
pub(super) fn assorted() -> Vec<JobRecord> {
    let number = "1.10000000000000000000000000001e+400";
    let inputs =
        ["{}", "{\"a\" : [1.0,\t-0, 12345678901234567890123]}", "\"\\u0000\\ud83d\\ude00\""];
    let mut jobs: Vec<_> = inputs.map(|input| JobRecord::new("echo", raw(input))).into();
    jobs.push(JobRecord::new("naïve_операция", raw(format!("{{\"ключ\":{number}}}"))));
    jobs.push(JobRecord::new("large", text_of(1 << 20)));
    for caller in [
        Caller::Client(None),
        Caller::Client(Some("Ada, at home".into())),
        Caller::Server,
        Caller::Job(JobId::new()),
    ] {
        jobs.push(JobRecord { caller, ..job() });
    }
    for priority in Priority::ALL {
        jobs.push(JobRecord { priority, ..job() });
    }
    let century = Duration::from_hours(24 * 36_525);
    let timeouts = [Duration::ZERO, Duration::from_micros(3_141_592), century];
    for timeout in timeouts {
        jobs.push(JobRecord { timeout: Some(timeout), ..job() });
    }
    for key in ["client:1", "клиент: \"ключ\" / '%_' \u{1f600}"] {
        jobs.push(job_with_key(key));
    }
    for run_at in [Timestamp::UNIX_EPOCH, moment(1), clock::kept(Timestamp::MAX)] {
        jobs.push(JobRecord { state: JobState::Scheduled, run_at: Some(run_at), ..job() });
    }
    jobs.push(JobRecord { attached: true, hops: 3, ..job() });
    jobs.push(JobRecord { created_at: moment(2), ..job() });
    jobs.push(JobRecord { attempt: u32::MAX, crashes: u32::MAX, ..job() });
    jobs
}

/// Every way in which a job can end.
pub(super) fn ends() -> Vec<JobState> {
    let own = Problem {
        code: Cow::Borrowed("out-of-tea"),
        status: 418,
        title: Cow::Borrowed("Nur Kaffee, leider — “☕”"),
        detail: "line\nbreak and \0".to_owned(),
        extensions: json!({ "cups": [1, 2.5, null], "deep": { "a": "b" } })
            .as_object()
            .unwrap()
            .clone(),
        is_permanent: false,
    };
    vec![
        JobState::Succeeded(raw("null")),
        JobState::Succeeded(raw("{ \"b\": 1,\n\"a\": 1.0 }")),
        JobState::Succeeded(text_of(300_000)),
        JobState::Failed(Problem::new(Code::Timeout, "too long")),
        JobState::Failed(own),
        JobState::Cancelled,
    ]
}

/// `job` as it is when it has ended in `state` now, with the log `log`.
pub(super) fn ended_in(job: &JobRecord, state: JobState, log: &SampleLog) -> JobRecord {
    let now = clock::now();
    JobRecord {
        state,
        started_at: Some(now),
        ended_at: Some(now),
        last_event: log.last_event(),
        ..job.clone()
    }
}

/// Ends `job` with a result and nothing but the end in its log. Returns its last record.
pub(super) async fn end(store: &dyn Store, job: &JobRecord) -> JobRecord {
    end_at(store, job, clock::now()).await
}

/// The same, at some time.
pub(super) async fn end_at(store: &dyn Store, job: &JobRecord, at: Timestamp) -> JobRecord {
    let mut log = SampleLog::default();
    let rest = vec![log.end()];
    let ended = ended_in(job, JobState::Succeeded(raw("1")), &log);
    let ended = JobRecord { ended_at: Some(at), ..ended };
    store.end(&ended, rest).await.unwrap();
    ended
}

/// A log as the engine writes it, and what a store has to give back of it.
#[derive(Default)]
pub(super) struct SampleLog {
    bytes: Vec<u8>,
    /// Where each event's frame ends, by its id.
    events: Vec<(u64, usize)>,
    /// How many ids were skipped.
    skipped: u64,
}

impl SampleLog {
    /// The next segment: `events` events, each of which takes about `size` bytes.
    pub(super) fn segment(&mut self, events: u64, size: usize) -> Segment {
        assert!(events > 0, "a segment is never empty");
        let data = "x".repeat(size.saturating_sub(20));
        self.write(events, |id| format!("id: {id}\ndata: \"{data}\"\n\n"))
    }

    /// The last segment: the `end` event.
    pub(super) fn end(&mut self) -> Segment {
        self.write(1, |id| format!("id: {id}\nevent: end\ndata: {{\"state\":\"cancelled\"}}\n\n"))
    }

    fn write(&mut self, events: u64, frame: impl Fn(u64) -> String) -> Segment {
        let (offset, first) = (self.bytes.len(), self.next_event());
        for id in first..first + events {
            self.bytes.extend_from_slice(frame(id).as_bytes());
            self.events.push((id, self.bytes.len()));
        }
        self.skipped = 0;
        let bytes = Bytes::copy_from_slice(&self.bytes[offset..]);
        Segment::new(first, self.last_event(), offset as u64, bytes)
    }

    /// Leaves out some ids before the next segment, as happens when a server dies.
    pub(super) fn skip(&mut self, ids: u64) {
        self.skipped = ids;
    }

    pub(super) fn last_event(&self) -> u64 {
        self.events.last().map_or(0, |(id, _)| *id)
    }

    fn next_event(&self) -> u64 {
        self.last_event() + self.skipped + 1
    }

    /// The place behind the last event.
    pub(super) fn position(&self) -> Position {
        Position { event: self.last_event(), offset: Some(self.bytes.len() as u64) }
    }

    /// How many bytes stand before the first event after `event`.
    fn offset_after(&self, event: u64) -> usize {
        let events = self.events.partition_point(|(id, _)| *id <= event);
        events.checked_sub(1).map_or(0, |last| self.events[last].1)
    }

    /// The store has this log and no more: it's read from its beginning, and from every
    /// `step`th position, with its offset and without.
    pub(super) async fn assert_kept(&self, store: &dyn Store, id: JobId, step: usize) {
        self.assert_whole(store, id).await;
        for event in (0..=self.last_event() + 1).step_by(step) {
            let offset = Some(self.offset_after(event) as u64);
            self.assert_after(store, id, Position::after(event)).await;
            self.assert_after(store, id, Position { event, offset }).await;
        }
    }

    /// The log is what a reader gets who goes from one segment to the next.
    pub(super) async fn assert_whole(&self, store: &dyn Store, id: JobId) {
        let mut position = Position::START;
        while let Some(next) = self.assert_after(store, id, position).await {
            position = next;
        }
        assert_eq!(position, self.position(), "the log ends too early");
    }

    /// What the store gives after `position` is how the log goes on there. Returns the place behind
    /// it; `None` behind the log's end.
    pub(super) async fn assert_after(
        &self,
        store: &dyn Store,
        id: JobId,
        position: Position,
    ) -> Option<Position> {
        let rest = &self.bytes[self.offset_after(position.event)..];
        let Some(segment) = store.read(id, position).await.unwrap() else {
            assert!(rest.is_empty(), "nothing is read after {position:?}, but there's more");
            return None;
        };
        assert!(!segment.bytes.is_empty(), "a segment is empty");
        let is_whole = [segment.first, segment.last]
            .iter()
            .all(|event| self.events.binary_search_by_key(event, |(id, _)| *id).is_ok());
        let (first, last) = (segment.first, segment.last);
        assert!(is_whole, "a segment is said to hold events {first} to {last}, which aren't");
        let (start, end) = (self.offset_after(first - 1), self.offset_after(last));
        assert_eq!(segment.offset, start as u64, "the offset of events {first} to {last}");
        assert!(segment.bytes == self.bytes[start..end], "events {first} to {last} are damaged");
        let new = segment.after(position);
        assert!(!new.is_empty(), "after {position:?} events {first} to {last} are read");
        assert!(rest.starts_with(&new), "after {position:?} events are left out");
        Some(segment.end())
    }
}
