//! Admission: which jobs run, which wait, in what order, and which are refused.
//!
//! A job needs a place of the server, and one of its operation if that has a limit; it takes both
//! at once or waits for both, so jobs never hold a place that they can't use. A job that another
//! one called runs in its caller's place of the server: if it had to wait for one, jobs that call
//! could fill all places and wait for each other for ever.

mod departures;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::departures::Departures;
use crate::job::Priority;

/// How many places each priority gets in a round while jobs of all of them wait.
const SHARES: [(Priority, u32); 3] =
    [(Priority::High, 16), (Priority::Normal, 4), (Priority::Low, 1)];

/// The places of a server, and who waits for them.
pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
}

/// What a server's jobs may take together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) running: usize,
    pub(crate) queued: usize,
    /// What the inputs of the jobs that wait may take, bytes.
    pub(crate) queued_input: u64,
    /// How many jobs that others called there may be.
    pub(crate) called: usize,
}

/// What the jobs of one operation may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationLimit {
    pub(crate) running: usize,
    pub(crate) queued: usize,
}

/// What a job needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Its operation, if that has a limit: what [`Admission::operation`] returned for it.
    pub(crate) operation: Option<usize>,
    pub(crate) kind: Kind,
    /// The size of its input, bytes.
    pub(crate) input: u64,
}

/// For whom a job runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// For itself.
    Own(Priority),
    /// For the job that called it.
    Called,
}

/// When a job wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    /// After [`Ticket::enqueue`].
    Later,
    /// After [`Ticket::enqueue`], and it can't be refused: it has been accepted before.
    Again,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull {
    /// When there may be room.
    pub(crate) retry_after: Duration,
}

struct State {
    running: usize,
    called: usize,
    /// How many jobs wait, those that others called aside, and the size of their inputs.
    waiting: usize,
    waiting_input: u64,
    departures: Departures,
    /// The queues of the jobs whose operations have no limit.
    unlimited: Lanes,
    operations: Vec<OperationState>,
    /// What is left of each priority's share in this round, in the order of [`SHARES`].
    shares: [u32; 3],
    /// The order of the next job in its queue.
    next: u64,
    is_closed: bool,
}

struct OperationState {
    name: Arc<str>,
    limit: OperationLimit,
    running: usize,
    waiting: usize,
    departures: Departures,
    own: Lanes,
    called: Lane,
    /// Whether its last place went to a job that another one called.
    was_called: bool,
}

/// Jobs that wait, by their order.
type Lane = BTreeMap<u64, Waiter>;

/// A job that waits: what it needs, and how it's told that it has it.
struct Waiter {
    demand: Demand,
    grant: oneshot::Sender<()>,
}

/// A lane for each priority, in the order of [`SHARES`].
type Lanes = [Lane; 3];

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            running: 0,
            called: 0,
            waiting: 0,
            waiting_input: 0,
            departures: Departures::default(),
            unlimited: Lanes::default(),
            operations: Vec::new(),
            shares: SHARES.map(|(_, share)| share),
            next: 0,
            is_closed: false,
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// What the jobs of an operation that has a limit name it by. It's by its name that an operation is
    /// known: when another one takes its place, the jobs of both share it. `limit` holds if it's new.
    pub(crate) fn operation(&self, name: &Arc<str>, limit: OperationLimit) -> usize {
        let mut state = self.lock();
        if let Some(at) = state.operations.iter().position(|known| known.name == *name) {
            return at;
        }
        state.operations.push(OperationState::new(name.clone(), limit));
        state.operations.len() - 1
    }

    /// Limits the jobs of an operation from now on.
    pub(crate) fn limit(&self, operation: usize, limit: OperationLimit) {
        let mut state = self.lock();
        state.operations[operation].limit = limit;
        state.dispatch(&self.limits);
    }

    /// Claims what a job needs, or a place in the queue for it.
    pub(crate) fn admit(self: &Arc<Self>, demand: Demand, when: When) -> Result<Ticket, QueueFull> {
        let mut state = self.lock();
        let runs = when == When::Now && state.can_run(&self.limits, demand);
        if !runs && when != When::Again {
            state.check_room(&self.limits, demand)?;
        }
        if let Kind::Called = demand.kind {
            if when != When::Again && state.called >= self.limits.called {
                return Err(QueueFull { retry_after: Duration::from_secs(1) });
            }
            state.called += 1;
        }
        let claim = if runs {
            state.take(demand);
            Claim::Held
        } else {
            state.wait(demand);
            if when == When::Now { state.enqueue(demand) } else { Claim::Reserved }
        };
        drop(state);
        Ok(Ticket { admission: self.clone(), demand, claim: Some(claim) })
    }

    /// How many jobs wait, those that others called aside.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// From now on only jobs that others called start to run.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code but this module's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a job's places back, to those that wait for them.
    fn release(&self, demand: Demand) {
        let mut state = self.lock();
        if let Some(operation) = state.operation(demand) {
            operation.running -= 1;
        }
        match demand.kind {
            Kind::Own(_) => state.running -= 1,
            Kind::Called => state.called -= 1,
        }
        state.dispatch(&self.limits);
    }
}

impl State {
    fn operation(&mut self, demand: Demand) -> Option<&mut OperationState> {
        demand.operation.map(|at| &mut self.operations[at])
    }

    /// Whether there are places for a job. Nobody waits for them then: they'd have been given.
    fn can_run(&self, limits: &Limits, demand: Demand) -> bool {
        let own = match demand.kind {
            Kind::Own(_) => self.has_place(limits),
            Kind::Called => true,
        };
        own && demand.operation.is_none_or(|at| self.operations[at].has_place())
    }

    fn check_room(&mut self, limits: &Limits, demand: Demand) -> Result<(), QueueFull> {
        if let Some(operation) = self.operation(demand)
            && operation.waiting >= operation.limit.queued
        {
            return Err(QueueFull { retry_after: operation.departures.refuse(Instant::now()) });
        }
        if matches!(demand.kind, Kind::Own(_))
            && (self.waiting >= limits.queued
                || self.waiting_input + demand.input > limits.queued_input)
        {
            return Err(QueueFull { retry_after: self.departures.refuse(Instant::now()) });
        }
        Ok(())
    }

    /// Counts a job as one that runs; one that was called is counted already.
    fn take(&mut self, demand: Demand) {
        if let Some(operation) = self.operation(demand) {
            operation.running += 1;
            operation.was_called = matches!(demand.kind, Kind::Called);
        }
        if let Kind::Own(_) = demand.kind {
            self.running += 1;
        }
    }

    /// Counts a job as one that waits.
    fn wait(&mut self, demand: Demand) {
        if let Some(operation) = self.operation(demand) {
            if operation.waiting == 0 {
                operation.departures.begin(Instant::now());
            }
            operation.waiting += 1;
        }
        if let Kind::Own(_) = demand.kind {
            if self.waiting == 0 {
                self.departures.begin(Instant::now());
            }
            self.waiting += 1;
            self.waiting_input += demand.input;
        }
    }

    /// Counts a job no longer as one that waits.
    fn leave(&mut self, demand: Demand) {
        if let Some(operation) = self.operation(demand) {
            operation.waiting -= 1;
            operation.departures.leave(Instant::now());
        }
        if let Kind::Own(_) = demand.kind {
            self.waiting -= 1;
            self.waiting_input -= demand.input;
            self.departures.leave(Instant::now());
        }
    }

    fn lane(&mut self, demand: Demand) -> &mut Lane {
        match (demand.kind, demand.operation) {
            (Kind::Own(priority), None) => &mut self.unlimited[lane(priority)],
            (Kind::Own(priority), Some(at)) => &mut self.operations[at].own[lane(priority)],
            (Kind::Called, Some(at)) => &mut self.operations[at].called,
            (Kind::Called, None) => unreachable!("it needs nothing that it could wait for"),
        }
    }

    fn enqueue(&mut self, demand: Demand) -> Claim {
        let (grant, granted) = oneshot::channel();
        let order = self.next;
        self.next += 1;
        self.lane(demand).insert(order, Waiter { demand, grant });
        Claim::Queued { order, granted }
    }

    /// Gives the free places to those that wait.
    fn dispatch(&mut self, limits: &Limits) {
        for at in 0..self.operations.len() {
            while self.operations[at].has_place() && !self.operations[at].called.is_empty() {
                // By turns with the operation's own jobs: calls without end must not starve these.
                let own = self.operations[at].was_called && self.has_place(limits);
                let own = if own { self.next_in_turn(Some(at)) } else { None };
                let called = |state: &mut Self| Some(state.operations[at].called.pop_first()?.1);
                let Some(waiter) = own.or_else(|| called(self)) else { break };
                self.grant(waiter);
            }
        }
        while self.has_place(limits)
            && self.waiting > 0
            && let Some(waiter) = self.next_in_turn(None)
        {
            self.grant(waiter);
        }
    }

    /// Whether one more job may run that no other one called.
    fn has_place(&self, limits: &Limits) -> bool {
        !self.is_closed && self.running < limits.running
    }

    fn grant(&mut self, waiter: Waiter) {
        self.leave(waiter.demand);
        self.take(waiter.demand);
        // Whoever waits takes itself out of the queue before it goes.
        let _ = waiter.grant.send(());
    }

    /// Takes the job whose turn it is out of its queue, of all jobs or those of one operation: by its
    /// priority's share, then by its order.
    fn next_in_turn(&mut self, of: Option<usize>) -> Option<Waiter> {
        let first: [_; 3] = std::array::from_fn(|at| self.first(at, of));
        let turn = |shares: &[u32; 3]| (0..3).find(|at| first[*at].is_some() && shares[*at] > 0);
        let at = turn(&self.shares).or_else(|| {
            self.shares = SHARES.map(|(_, share)| share);
            turn(&self.shares)
        })?;
        self.shares[at] -= 1;
        let (order, operation) = first[at]?;
        let lanes = match operation {
            Some(operation) => &mut self.operations[operation].own,
            None => &mut self.unlimited,
        };
        lanes[at].remove(&order)
    }

    /// The job of a priority that has waited longest of those whose operations have a place, or of
    /// those of one operation.
    fn first(&self, at: usize, of: Option<usize>) -> Option<(u64, Option<usize>)> {
        let head = |lane: &Lane| lane.first_key_value().map(|(order, _)| *order);
        if let Some(operation) = of {
            return Some((head(&self.operations[operation].own[at])?, of));
        }
        let limited = self.operations.iter().enumerate().filter(|(_, of)| of.has_place());
        let limited = limited.filter_map(|(index, of)| Some((head(&of.own[at])?, Some(index))));
        limited.chain(head(&self.unlimited[at]).map(|order| (order, None))).min()
    }
}

impl OperationState {
    fn new(name: Arc<str>, limit: OperationLimit) -> Self {
        Self {
            name,
            limit,
            running: 0,
            waiting: 0,
            departures: Departures::default(),
            own: Lanes::default(),
            called: Lane::new(),
            was_called: false,
        }
    }

    fn has_place(&self) -> bool {
        self.running < self.limit.running
    }
}

/// A priority's place in [`SHARES`].
fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// A job's claim to its places: held already, or waited for.
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    demand: Demand,
    /// `None` once a [`Place`] has it.
    claim: Option<Claim>,
}

enum Claim {
    Held,
    /// Counted as waiting, in no queue.
    Reserved,
    Queued {
        order: u64,
        granted: oneshot::Receiver<()>,
    },
}

impl Ticket {
    /// Queues a job whose time has come; one for which there's a place holds it.
    pub(crate) fn enqueue(&mut self) {
        let mut state = self.admission.lock();
        if !matches!(self.claim, Some(Claim::Reserved)) {
            return;
        }
        self.claim = Some(if state.can_run(&self.admission.limits, self.demand) {
            state.leave(self.demand);
            state.take(self.demand);
            Claim::Held
        } else {
            state.enqueue(self.demand)
        });
    }

    /// Whether [`place`](Self::place) doesn't have to wait.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.claim, Some(Claim::Held))
    }

    /// Waits for the places of a job that is queued. Cancel-safe: it keeps its order in the queue.
    pub(crate) async fn place(&mut self) -> Place {
        if let Some(Claim::Queued { granted, .. }) = &mut self.claim
            && granted.await.is_err()
        {
            unreachable!("a waiter is only taken out of its queue to be granted its places");
        }
        self.claim = None;
        Place { admission: self.admission.clone(), demand: self.demand }
    }
}

/// A ticket that was not used gives back what it has.
impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let waits = {
            let mut state = self.admission.lock();
            let waits = match claim {
                Claim::Held => false,
                Claim::Reserved => true,
                Claim::Queued { order, .. } => state.lane(self.demand).remove(&order).is_some(),
            };
            if waits {
                state.leave(self.demand);
                if let Kind::Called = self.demand.kind {
                    state.called -= 1;
                }
            }
            waits
        };
        if !waits {
            self.admission.release(self.demand);
        }
    }
}

/// The places of a job that runs; given back when dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    demand: Demand,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.release(self.demand);
    }
}

#[cfg(test)]
mod tests;
