use std::future::poll_fn;

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;
use crate::job::event::frames;
use crate::job::flush::FLUSH_AFTER;

async fn read(log: &Log, position: Position) -> Read {
    poll_fn(|cx| log.poll_read(cx, 0, position)).await
}

/// The body of an event.
const ONE: &[u8] = b"data: 1\n\n";

fn new_log(max_bytes: u64) -> Arc<Log> {
    Arc::new(Log::new(max_bytes, None))
}

/// A log that goes on behind `end`.
fn resumed(end: Position, life: u32) -> Arc<Log> {
    Arc::new(Log::resume(end, life, u64::MAX, None))
}

/// The frozen segment that the store is to get next.
fn oldest(log: &Log) -> Option<Segment> {
    log.lock().unstored.front().cloned()
}

/// Pushes `sizes.len()` outputs, storing what is frozen if `store` says so; returns the log
/// and what was stored.
fn filled(sizes: &[usize], store: impl Fn(usize) -> bool) -> (Arc<Log>, Vec<Segment>) {
    let (log, mut stored) = (new_log(u64::MAX), Vec::new());
    log.open(1);
    for (at, size) in sizes.iter().enumerate() {
        let body = format!("data: \"{}\"\n\n", "x".repeat(*size));
        log.push(1, body.as_bytes()).unwrap();
        while store(at)
            && let Some(segment) = oldest(&log)
        {
            stored.push(segment);
            log.mark_stored(1);
        }
    }
    (log, stored)
}

proptest! {
    #[test]
    fn a_reader_from_anywhere_gets_each_later_event_once(
        sizes in prop::collection::vec(prop_oneof![0..100usize, 0..40_000usize], 1..40),
        stored_at in prop::collection::vec(any::<bool>(), 40),
        from in 0..40u64,
    ) {
        // Often enough that the store is never too far behind for one more.
        let (log, stored) = filled(&sizes, |at| stored_at[at] || at % 3 == 0);
        log.close();
        let (_, last) = log.rest_with_end(ONE);
        log.finish(last);
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut position = Position::after(from);
        let mut seen = Vec::new();
        loop {
            let bytes = match runtime.block_on(read(&log, position)) {
                Read::End => break,
                Read::Frames(bytes, behind) => { position = behind; bytes }
                Read::Stored => {
                    let segment = stored.iter().find(|s| s.last > position.event).unwrap();
                    let bytes = segment.after(position);
                    position = segment.end();
                    bytes
                }
            };
            seen.extend(frames(&bytes).map(|(id, _)| id));
        }
        let all: Vec<u64> = (from + 1..=sizes.len() as u64 + 1).collect();
        prop_assert_eq!(seen, all);
    }
}

#[test]
fn a_log_over_its_limit_refuses() {
    let log = new_log(100);
    log.open(1);
    assert!(log.push(1, &[b'1'; 60]).is_ok());
    assert_eq!(log.push(1, &[b'1'; 60]), Err(Refused::TooLarge));
    assert_eq!(log.last_event(), 1);
}

#[tokio::test]
async fn many_events_wake_a_reader_once() {
    let log = new_log(u64::MAX);
    log.open(1);
    let mut waiting = watched(read(&log, Position::START));
    assert!(waiting.poll().is_pending());
    for _ in 0..2 {
        log.push(1, ONE).unwrap();
    }
    assert_eq!(waiting.wakes(), 1);
    let Poll::Ready(Read::Frames(bytes, _)) = waiting.poll() else { panic!("no frames") };
    assert_eq!(frames(&bytes).count(), 2);
}

#[tokio::test]
async fn an_emitter_waits_while_the_store_is_behind() {
    let (log, _) = filled(&[SEGMENT_SIZE; 64], |_| false);
    assert_eq!(log.push(1, ONE), Err(Refused::Behind));
    let mut waiting = watched(log.room());
    assert!(waiting.poll().is_pending());
    log.mark_stored(1);
    assert!(waiting.poll().is_ready());
}

#[test]
fn what_one_log_holds_back_beyond_its_own_share_others_do_not() {
    let (flusher, large) = (Arc::new(Flusher::default()), vec![b'1'; SEGMENT_SIZE]);
    let behind = || {
        let log = Arc::new(Log::new(u64::MAX, Some(flusher.clone())));
        log.open(1);
        while log.push(1, &large).is_ok() {}
        let bytes = log.lock().unstored_bytes();
        (log, bytes)
    };
    let is_about =
        |bytes: u64, limit: u64| (limit..limit + 2 * SEGMENT_SIZE as u64).contains(&bytes);
    let first: Vec<_> = std::iter::repeat_with(behind).take(16).collect();
    assert!(first.iter().all(|(_, bytes)| is_about(*bytes, MAX_UNSTORED)), "64 MiB in all");
    let (late, bytes) = behind();
    assert!(is_about(bytes, OWN_UNSTORED), "{bytes}");
    // Room is made by what is stored, by a log that ends, and by one that is dropped.
    let (stored, ended) = (&first[0].0, &first[1].0);
    let count = stored.lock().unstored.len();
    stored.mark_stored(count);
    ended.close();
    ended.finish(ended.rest_with_end(ONE).1);
    assert!(is_about(ended.lock().unstored_bytes(), OWN_UNSTORED - SEGMENT_SIZE as u64));
    // Who is further behind than what is kept of it reads on from the store.
    assert!(matches!(read(ended, Position::START).now_or_never(), Some(Read::Stored)));
    assert!(late.push(1, ONE).is_ok());
    drop(first);
    drop(late);
    assert_eq!(flusher.held_back(), 0);
}

#[test]
fn an_emitter_waits_before_more_ids_are_told_than_a_crash_leaves_out() {
    let log = new_log(u64::MAX);
    log.open(1);
    let mut pushed = (0..=MAX_UNSTORED_EVENTS).map(|_| log.push(1, ONE));
    assert!(pushed.any(|pushed| pushed == Err(Refused::Behind)));
    let again = resumed(Position::START, 1);
    assert!(again.lock().next.id() > log.last_event());
}

#[tokio::test]
async fn a_log_that_goes_on_is_read_behind_what_is_stored() {
    let stored = Position { event: 7, offset: Some(70) };
    let log = resumed(stored, 1);
    assert!(matches!(read(&log, Position::after(6)).await, Read::Stored));
    let mut waiting = watched(read(&log, stored));
    assert!(waiting.poll().is_pending());
    log.announce(ONE);
    // Also for who has read what was lost.
    for position in [stored, Position::after(9)] {
        let Read::Frames(bytes, end) = read(&log, position).await else { panic!("no frames") };
        assert_eq!(frames(&bytes).map(|(id, _)| id).collect::<Vec<_>>(), [end.event]);
        assert_eq!(end.offset, Some(70 + bytes.len() as u64));
    }
}

#[test]
fn two_lives_that_go_on_from_the_same_place_share_no_id() {
    let stored = Position { event: 7, offset: Some(100) };
    let (first, second) = (resumed(stored, 1), resumed(stored, 2));
    first.announce(ONE);
    first.open(1);
    while first.push(1, ONE).is_ok() {}
    first.close();
    (0..ENGINE_EVENTS).for_each(|_| first.announce(ONE));
    second.announce(ONE);
    assert!(first.last_event() <= 7 + 2 * MAX_UNSTORED_EVENTS, "{}", first.last_event());
    assert_eq!(second.last_event(), 7 + 2 * MAX_UNSTORED_EVENTS + 1);
    // One that tells something else than the first would have, in its place.
    let other = resumed(stored, 1);
    other.leave_out();
    other.announce(ONE);
    assert_eq!(other.last_event(), second.last_event());
}

#[tokio::test(start_paused = true)]
async fn what_settles_is_stored() {
    let log = new_log(u64::MAX);
    log.open(1);
    log.push(1, ONE).unwrap();
    let (settled, segments) = tokio::join!(
        async {
            log.settled(1).await.unwrap();
            log.rest().len()
        },
        async {
            let segments = log.unstored().await.unwrap();
            tokio::task::yield_now().await;
            log.mark_stored(segments.len());
            segments.len()
        }
    );
    assert_eq!((settled, segments), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_small_tail_is_stored_soon() {
    let flusher = Arc::new(Flusher::default());
    let log = Arc::new(Log::new(u64::MAX, Some(flusher.clone())));
    tokio::spawn(flusher.run());
    log.open(1);
    log.push(1, ONE).unwrap();
    let begun = tokio::time::Instant::now();
    let segments = log.unstored().await.unwrap();
    assert_eq!((segments.len(), begun.elapsed()), (1, FLUSH_AFTER));
}

#[test]
fn an_attempt_that_is_over_adds_nothing_to_the_next_one() {
    let log = new_log(u64::MAX);
    log.open(1);
    log.close();
    log.open(2);
    assert_eq!(log.push(1, ONE), Err(Refused::Closed));
    assert_eq!(log.settled(1).now_or_never(), Some(Err(Refused::Closed)));
    // Nor does it change what the closed log's end is stored with.
    log.push(2, ONE).unwrap();
    log.close();
    assert_eq!(log.settled(2).now_or_never(), Some(Err(Refused::Closed)));
    assert!(oldest(&log).is_none());
}

#[test]
fn the_end_is_stored_with_all_that_is_not_yet() {
    let (log, stored) = filled(&[70_000, 1], |_| false);
    log.close();
    let (rest, last) = log.rest_with_end(ONE);
    assert_eq!(rest.iter().map(|segment| segment.last).collect::<Vec<_>>(), [1, 3]);
    assert!(stored.is_empty() && last.last == 3 && last.offset == rest[0].end().offset.unwrap());
}

/// A future under test, with a waker that counts.
struct Task<F> {
    future: std::pin::Pin<Box<F>>,
    wakes: std::sync::Arc<Wakes>,
}

struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn watched<F: Future>(future: F) -> Task<F> {
    Task { future: Box::pin(future), wakes: std::sync::Arc::new(Wakes(0.into())) }
}

impl<F: Future> Task<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
