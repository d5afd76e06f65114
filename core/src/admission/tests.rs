use super::*;

const OPEN: Limits = Limits { running: 1, queued: 100, queued_input: 1_000, called: 2 };

fn own(priority: Priority) -> Demand {
    Demand { operation: None, kind: Kind::Own(priority), input: 1 }
}

fn of(operation: usize) -> Demand {
    Demand { operation: Some(operation), ..own(Priority::Normal) }
}

fn called(operation: Option<usize>) -> Demand {
    Demand { operation, kind: Kind::Called, input: 1 }
}

/// The first of those who wait whose turn has come.
fn next_in_turn<T>(waiting: &mut Vec<(T, Ticket)>) -> (T, Ticket) {
    let next = waiting.iter_mut().position(|(_, ticket)| match &mut ticket.claim {
        Some(Claim::Queued { granted, .. }) => !granted.is_empty(),
        _ => false,
    });
    waiting.remove(next.expect("someone's turn has come"))
}

/// The place of a ticket that has one by now.
fn granted(mut ticket: Ticket) -> Option<Place> {
    futures_util::FutureExt::now_or_never(ticket.place())
}

#[test]
fn past_the_places_and_the_queue_a_job_is_refused() {
    let admission = Admission::new(Limits { queued: 1, ..OPEN });
    let first = admission.admit(own(Priority::Normal), When::Now).unwrap();
    let second = admission.admit(own(Priority::Normal), When::Now).unwrap();
    assert!(first.is_held() && !second.is_held());
    assert!(admission.admit(own(Priority::Normal), When::Now).is_err());

    drop(granted(first));
    let _second = granted(second).unwrap();
    assert_eq!(admission.waiting(), 0);
    assert!(!admission.admit(own(Priority::Normal), When::Now).unwrap().is_held());
}

#[test]
fn inputs_that_wait_are_bounded() {
    let admission = Admission::new(OPEN);
    let large = Demand { input: 600, ..own(Priority::Normal) };
    let _running = admission.admit(large, When::Now).unwrap();
    let waiting = admission.admit(large, When::Now).unwrap();
    assert!(admission.admit(large, When::Now).is_err());
    drop(waiting);
    assert!(admission.admit(large, When::Now).is_ok());
}

#[test]
fn every_priority_gets_its_share_and_none_is_starved() {
    let admission = Admission::new(OPEN);
    let mut place = granted(admission.admit(own(Priority::Normal), When::Now).unwrap());
    let mut waiting: Vec<_> = (0..63)
        .map(|at| {
            let priority = Priority::ALL[at % 3];
            (priority, admission.admit(own(priority), When::Now).unwrap())
        })
        .collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(place.take());
        let (priority, ticket) = next_in_turn(&mut waiting);
        order.push(priority);
        place = granted(ticket);
    }
    let count = |part: &[Priority], of| part.iter().filter(|priority| **priority == of).count();
    let round = &order[..21];
    assert_eq!(count(round, Priority::High), 16);
    assert_eq!(count(round, Priority::Normal), 4);
    assert_eq!(count(round, Priority::Low), 1);
    assert_eq!(count(&order, Priority::Low), 21);
}

#[test]
fn a_job_that_waits_for_its_operation_holds_no_place_of_the_server() {
    let limits = Limits { running: 2, ..OPEN };
    let narrow = OperationLimit { running: 1, queued: 1 };
    let admission = Admission::new(limits);
    assert_eq!(admission.operation(&"narrow".into(), narrow), 0);
    let running = admission.admit(of(0), When::Now).unwrap();
    let waiting = admission.admit(of(0), When::Now).unwrap();
    assert!(admission.admit(own(Priority::Low), When::Now).unwrap().is_held());
    assert!(admission.admit(of(0), When::Now).is_err(), "the operation's own queue is full");
    drop(running);
    assert!(granted(waiting).is_some());
}

#[test]
fn a_called_job_goes_before_those_that_wait_for_the_server() {
    let narrow = OperationLimit { running: 1, queued: 10 };
    let admission = Admission::new(OPEN);
    assert_eq!(admission.operation(&"narrow".into(), narrow), 0);
    let _caller = admission.admit(own(Priority::Normal), When::Now).unwrap();
    let _waiting = admission.admit(of(0), When::Now).unwrap();
    let first = granted(admission.admit(called(Some(0)), When::Now).unwrap());
    let second = admission.admit(called(Some(0)), When::Now).unwrap();
    assert!(first.is_some() && !second.is_held());
    assert!(admission.admit(called(None), When::Now).is_err(), "two calls are all there may be");
    drop(first);
    assert!(granted(second).is_some());
}

#[test]
fn a_job_that_can_not_run_yet_takes_a_place_when_it_can() {
    let admission = Admission::new(OPEN);
    let mut later = admission.admit(own(Priority::Normal), When::Later).unwrap();
    assert_eq!(admission.waiting(), 1);
    later.enqueue();
    assert!(later.is_held());
    assert_eq!(admission.waiting(), 0);
}

#[test]
fn a_job_that_was_accepted_before_is_never_refused() {
    let admission = Admission::new(Limits { running: 0, queued: 0, ..OPEN });
    assert!(admission.admit(own(Priority::Normal), When::Again).is_ok());
}

#[test]
fn whoever_goes_away_gives_back_what_it_had_claimed() {
    let admission = Admission::new(OPEN);
    let held = admission.admit(own(Priority::Normal), When::Now).unwrap();
    let queued = admission.admit(own(Priority::Normal), When::Now).unwrap();
    let next = admission.admit(own(Priority::Normal), When::Now).unwrap();
    drop(queued);
    drop(held);
    // Granted, and dropped before it took its place.
    drop(next);
    assert_eq!(admission.waiting(), 0);
    assert!(admission.admit(own(Priority::Normal), When::Now).unwrap().is_held());
}

#[test]
fn called_jobs_and_an_operations_own_ones_go_by_turns() {
    let narrow = OperationLimit { running: 1, queued: 10 };
    let admission = Admission::new(Limits { running: 9, called: 9, ..OPEN });
    assert_eq!(admission.operation(&"narrow".into(), narrow), 0);
    let mut place = granted(admission.admit(called(Some(0)), When::Now).unwrap());
    let mut waiting: Vec<_> = [called(Some(0)), of(0), called(Some(0)), of(0)]
        .map(|demand| (demand.kind, admission.admit(demand, When::Now).unwrap()))
        .into();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(place.take());
        let (kind, ticket) = next_in_turn(&mut waiting);
        order.push(matches!(kind, Kind::Called));
        place = granted(ticket);
    }
    assert_eq!(order, [false, true, false, true]);
}

#[test]
fn two_operations_of_one_name_share_a_limit() {
    let admission = Admission::new(Limits { running: 9, ..OPEN });
    let name = "narrow".into();
    let first = admission.operation(&name, OperationLimit { running: 1, queued: 10 });
    let _running = admission.admit(of(first), When::Now).unwrap();
    let waiting = admission.admit(of(first), When::Now).unwrap();
    assert!(!waiting.is_held());
    let wider = OperationLimit { running: 2, queued: 10 };
    assert_eq!(admission.operation(&name, wider), first);
    admission.limit(first, wider);
    let _second = granted(waiting).expect("there is a second place now");
    assert!(!admission.admit(of(first), When::Now).unwrap().is_held());
}
