//! One job's log, as the store has it in the end.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;

use crate::client::{Frame, take_frames};
use crate::ledger::Sight;
use crate::order::{End, Kind, Order};

/// How many ids a server leaves out before it goes on with a job's log, or a multiple of that:
/// `MAX_UNSTORED_EVENTS` of core/src/job/log.rs. Any other number of ids was lost.
const LEFT_OUT: u64 = 128 * 1024;

/// A log, and what is wrong with it by itself.
pub(crate) struct Log {
    /// Of all its bytes.
    pub(crate) hash: u64,
    /// Ids and hashes, in the order of the log.
    events: Vec<(u64, u64)>,
    pub(crate) end: Option<End>,
    /// What was emitted in each attempt: first and last number, and how many.
    attempts: Vec<Numbers>,
    pub(crate) wrongs: Vec<(&'static str, String)>,
}

/// The numbers that an attempt emitted, one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    first: u64,
    last: u64,
    count: u64,
}

#[derive(Deserialize)]
struct State {
    attempt: u32,
    state: String,
}

#[derive(Deserialize)]
struct Numbered {
    n: u64,
}

#[derive(Deserialize)]
struct Progress {
    done: u64,
}

impl Log {
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let mut log = Self {
            hash: hasher.finish(),
            events: Vec::new(),
            end: None,
            attempts: Vec::new(),
            wrongs: Vec::new(),
        };
        let mut attempt = 0;
        take_frames(&mut bytes, |frame| log.add(&frame, &mut attempt));
        match &log.end {
            None => {
                let what = format!("its log has no end after event {}", log.last());
                log.wrongs.push(("lost", what));
            }
            Some(End::Succeeded { .. }) if log.attempts.is_empty() => {
                log.wrongs.push(("wrong logs", "it succeeded without an attempt".to_owned()));
            }
            Some(_) => {}
        }
        if !bytes.is_empty() {
            log.wrongs.push(("wrong logs", format!("half a frame after event {}", log.last())));
        }
        log
    }

    /// The id of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.events.last().map_or(0, |(id, _)| *id)
    }

    fn add(&mut self, frame: &Frame<'_>, attempt: &mut u32) {
        let (id, last) = (frame.id, self.last());
        if self.end.is_some() {
            self.wrongs.push(("ended twice", format!("event {id} comes after its end")));
        }
        if id <= last {
            self.wrongs.push(("ids that don't grow", format!("event {id} comes after {last}")));
        }
        if frame.event == "end" {
            self.end = serde_json::from_str(frame.data).ok();
        }
        self.check_jump(last, id, frame.event);
        self.events.push((id, frame.hash));
        match frame.event {
            "state" => match serde_json::from_str::<State>(frame.data) {
                Ok(state) if state.state == "running" => {
                    if state.attempt <= *attempt {
                        let what = format!("attempt {} after attempt {attempt}", state.attempt);
                        self.wrongs.push(("attempts run twice", what));
                    }
                    *attempt = state.attempt;
                    self.attempts.push(Numbers::default());
                }
                Ok(_) => {}
                Err(error) => self.wrongs.push(("wrong logs", format!("event {id}: {error}"))),
            },
            "" => self.add_output(frame),
            "progress" => self.check_progress(frame),
            _ => {}
        }
    }

    /// Whether the ids between two events may be missing: where a server goes on with what another
    /// one left it says so first, by a state or, if it only ends the job, by an end without success.
    fn check_jump(&mut self, last: u64, id: u64, event: &str) {
        let left_out = id.saturating_sub(last + 1);
        let may_jump = match event {
            "state" => true,
            "end" => !matches!(self.end, Some(End::Succeeded { .. })),
            _ => false,
        };
        if left_out > 0 && (!may_jump || !left_out.is_multiple_of(LEFT_OUT)) {
            let what = format!("between events {last} and {id} ({event})");
            self.wrongs.push(("holes within an attempt", what));
        }
    }

    /// Progress stands behind the output that it counts.
    fn check_progress(&mut self, frame: &Frame<'_>) {
        let last = self.attempts.last().map(|attempt| attempt.last);
        let done = serde_json::from_str::<Progress>(frame.data).ok().map(|progress| progress.done);
        if done != last {
            let what = format!("event {} says {}, behind number {last:?}", frame.id, frame.data);
            self.wrongs.push(("wrong outputs", what));
        }
    }

    fn add_output(&mut self, frame: &Frame<'_>) {
        let Some(attempt) = self.attempts.last_mut() else {
            self.wrongs.push(("wrong logs", format!("event {} before an attempt", frame.id)));
            return;
        };
        // What `echo` emits has no number, and gets that of its place.
        let n = serde_json::from_str::<Numbered>(frame.data).map_or(attempt.last + 1, |it| it.n);
        if attempt.count == 0 {
            attempt.first = n;
        } else if n != attempt.last + 1 {
            let what = format!("event {} has number {n} after {}", frame.id, attempt.last);
            self.wrongs.push(("wrong outputs", what));
        }
        attempt.last = n;
        attempt.count += 1;
    }

    /// Whether the output is what was ordered.
    pub(crate) fn check_output(&self, order: &Order) -> Result<(), String> {
        let Some(last) = self.attempts.last().copied() else { return Ok(()) };
        if order.kind == Kind::Checkpoint {
            // Each attempt goes on where the ones before it had come to, or earlier.
            let mut reached = 0;
            for attempt in self.attempts.iter().filter(|attempt| attempt.count > 0) {
                if attempt.first > reached + 1 {
                    return Err(format!(
                        "an attempt goes on at {}, and only {reached} are there of those before",
                        attempt.first
                    ));
                }
                reached = reached.max(attempt.last);
            }
            let is_whole = self.end.as_ref().is_none_or(|end| end.result().is_none());
            return if is_whole || reached == order.n {
                Ok(())
            } else {
                Err(format!("{reached} of {} are there", order.n))
            };
        }
        if self.attempts.iter().any(|attempt| attempt.count > 0 && attempt.first != 1) {
            return Err(format!("an attempt does not begin at 1: {:?}", self.attempts));
        }
        match &self.end {
            Some(End::Succeeded { .. }) if last.count != order.n => {
                Err(format!("{} of {} are there", last.count, order.n))
            }
            _ => Ok(()),
        }
    }

    /// Whether a reader saw what stands here. What it saw besides was lost in a crash before it was
    /// stored: its id is left out here, and is the same to all who saw it.
    pub(crate) fn check_sight(&self, sight: &Sight) -> Vec<(&'static str, String)> {
        let mut wrongs = Vec::new();
        for (id, hash) in &sight.events {
            if let Ok(at) = self.events.binary_search_by_key(id, |(id, _)| *id)
                && self.events[at].1 != *hash
            {
                wrongs.push(("other contents under one id", format!("a reader's event {id}")));
            }
        }
        let last = sight.last();
        if sight.has_end && last != self.last() {
            wrongs.push(("ended twice", format!("a reader saw its end as event {last}")));
        }
        if sight.is_whole && last < self.last() {
            let what = format!("all after event {last}, the log ends with {}", self.last());
            wrongs.push(("events that a reader missed", what));
        }
        if !sight.events.is_empty() && last > self.last() {
            let what = format!("a reader saw event {last}, the log ends with {}", self.last());
            wrongs.push(("events past the end", what));
        }
        let stored = self.events.iter().filter(|(id, _)| (sight.after + 1..=last).contains(id));
        for (id, _) in stored {
            if sight.events.binary_search_by_key(id, |(id, _)| *id).is_err() {
                wrongs.push(("events that a reader missed", format!("event {id} of {last}")));
            }
        }
        wrongs
    }
}

/// Whether all who read a job saw the same under one id, also of what isn't stored.
pub(crate) fn check_among(sights: &[Sight]) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = sights.iter().flat_map(|sight| sight.events.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    let differ = all.windows(2).filter(|two| two[0].0 == two[1].0);
    let what = |two: &[(u64, u64)]| format!("two readers' event {}", two[0].0);
    differ.map(|two| ("other contents under one id", what(two))).collect()
}
