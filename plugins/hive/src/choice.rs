//! Which hive does a job that names none: where its model is loaded, else where it's on the disk and
//! fits in memory; where any will do, the one that has the least to do.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::heartbeat::{Heartbeat, Worker};
use crate::hive::State;

/// A hive that may be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// `localhost` for this machine.
    pub(crate) id: String,
    pub(crate) is_here: bool,
    /// Offline ones are no candidates.
    pub(crate) state: State,
    pub(crate) heartbeat: Arc<Heartbeat>,
}

/// A choice, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// What a job says of where it's to be done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// The model's id.
    pub(crate) model: Option<&'a str>,
    /// The worker's id.
    pub(crate) worker: Option<&'a str>,
}

/// Chooses the one of `candidates` that has what is wished for.
pub(crate) fn choose(candidates: &[Candidate], wish: Wish<'_>) -> Option<Choice> {
    if let Some(worker) = wish.worker {
        let hive = candidates.iter().find(|hive| workers(hive).any(|known| known.id == worker))?;
        return Some(Choice { id: hive.id.clone(), reason: format!("worker `{worker}` is there") });
    }
    let model = wish.model?;
    // One that is late may be dead: it's chosen only if no other has the model.
    let (online, late): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|hive| hive.state == State::Online);
    with_model(&online, model).or_else(|| with_model(&late, model))
}

/// Chooses the one of `candidates` that has the model.
fn with_model(candidates: &[&Candidate], model: &str) -> Option<Choice> {
    // A tie goes to this machine, then to the first by its id.
    let order = |hive: &Candidate| (!hive.is_here, hive.id.clone());
    let best = |hive: &Candidate| loaded(hive, model).min();
    let loaded = candidates.iter().filter_map(|hive| Some((best(hive)?, hive)));
    if let Some((slots, hive)) = loaded.min_by_key(|(slots, hive)| (*slots, order(hive))) {
        return Some(Choice {
            id: hive.id.clone(),
            reason: format!("the model is loaded, {slots}"),
        });
    }
    let free = |hive: &Candidate| hive.heartbeat.capacity.memory_free;
    let load = |hive: &Candidate| hive.heartbeat.jobs.live;
    let on_disk = candidates.iter().filter_map(|hive| Some((size(hive, model)?, hive)));
    let (size, hive) = on_disk.min_by_key(|(size, hive)| {
        (*size > free(hive), load(hive), Reverse(free(hive) >> 30), order(hive))
    })?;
    let reason = if size > free(hive) {
        "the model is on its disk, and fits in no hive's free memory".to_owned()
    } else {
        "the model is on its disk, and fits in its memory".to_owned()
    };
    Some(Choice { id: hive.id.clone(), reason })
}

/// The hive that has the least to do.
pub(crate) fn least_loaded(candidates: &[Candidate]) -> Option<Choice> {
    let hive = candidates.iter().min_by_key(|hive| {
        let Heartbeat { jobs, capacity, .. } = &*hive.heartbeat;
        (hive.state, jobs.live, !hive.is_here, Reverse(capacity.memory_free), hive.id.clone())
    })?;
    let jobs = hive.heartbeat.jobs.live;
    let reason = format!("no hive has the model, and this one the least to do ({jobs} jobs)");
    Some(Choice { id: hive.id.clone(), reason })
}

fn workers(hive: &Candidate) -> impl Iterator<Item = &Worker> {
    hive.heartbeat.workers.iter().flatten()
}

/// The slots of the workers that have the model, or will have it in a moment.
fn loaded<'a>(hive: &'a Candidate, model: &'a str) -> impl Iterator<Item = Slots> {
    let of = |worker: &Worker| {
        let (jobs, all) = (worker.jobs, worker.slots.unwrap_or(1).max(1));
        Slots { before: jobs.saturating_add(1).saturating_sub(all), jobs, all }
    };
    workers(hive).filter(move |worker| worker.model == model).map(of)
}

/// How busy a worker is; the less, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slots {
    /// How many jobs one more would have to wait for.
    before: usize,
    jobs: usize,
    all: usize,
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { before: 0, jobs, all } => write!(f, "{} of {all} slots free", all - jobs),
            Self { before: 1, .. } => f.write_str("one job before this one"),
            Self { before, .. } => write!(f, "{before} jobs before this one"),
        }
    }
}

/// The size of the model's file, if it's on the hive's disk.
fn size(hive: &Candidate, model: &str) -> Option<u64> {
    let mut models = hive.heartbeat.models.iter().flatten();
    models.find(|known| known.id == model).map(|model| model.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Model;

    const GIB: u64 = 1 << 30;

    /// A hive with so much free memory, so many jobs, these models on its disk, and these workers.
    fn hive(
        id: &str,
        (free, jobs): (u64, usize),
        models: &[(&str, u64)],
        workers: &[(&str, &str, usize)],
    ) -> Candidate {
        let mut heartbeat = Heartbeat::default();
        heartbeat.capacity.memory_free = free * GIB;
        heartbeat.jobs.live = jobs;
        let model = |(id, size): &(&str, u64)| Model {
            id: (*id).to_owned(),
            bytes: size * GIB,
            architecture: "llama".to_owned(),
            quantisation: None,
        };
        heartbeat.models = Some(models.iter().map(model).collect());
        let worker = |(id, model, jobs): &(&str, &str, usize)| Worker {
            id: (*id).to_owned(),
            model: (*model).to_owned(),
            state: if *jobs > 0 { "busy" } else { "idle" }.to_owned(),
            jobs: *jobs,
            slots: None,
        };
        heartbeat.workers = Some(workers.iter().map(worker).collect());
        let (state, is_here) = (State::Online, id == "localhost");
        Candidate { id: id.to_owned(), is_here, state, heartbeat: Arc::new(heartbeat) }
    }

    /// The same, whose workers work on so many jobs at once.
    fn with_slots(slots: usize, mut hive: Candidate) -> Candidate {
        let heartbeat = Arc::make_mut(&mut hive.heartbeat);
        for worker in heartbeat.workers.iter_mut().flatten() {
            worker.slots = Some(slots);
        }
        hive
    }

    fn late(hive: Candidate) -> Candidate {
        Candidate { state: State::Late, ..hive }
    }

    /// Where a job with the model `m` goes.
    fn goes(hives: &[Candidate]) -> Option<String> {
        choose(hives, Wish { model: Some("m"), worker: None }).map(|choice| choice.id)
    }

    #[test]
    fn a_loaded_model_goes_before_one_on_a_disk() {
        let disk = hive("localhost", (9, 0), &[("m", 1)], &[]);
        let loaded = hive("gpu-1", (0, 50), &[("m", 1)], &[("w-1", "m", 3)]);
        assert_eq!(goes(&[disk.clone(), loaded.clone()]).unwrap(), "gpu-1");
        let idle = hive("gpu-2", (0, 50), &[], &[("w-2", "m", 0)]);
        assert_eq!(goes(&[disk.clone(), loaded.clone(), idle.clone()]).unwrap(), "gpu-2");
        // One that may be dead is worth less than any that isn't, and more than none.
        assert_eq!(goes(&[disk.clone(), loaded, late(idle.clone())]).unwrap(), "gpu-1");
        assert_eq!(goes(&[disk, late(idle.clone())]).unwrap(), "localhost");
        assert_eq!(goes(&[late(idle)]).unwrap(), "gpu-2");
        let here = hive("localhost", (0, 0), &[], &[("w-3", "m", 0)]);
        let there = hive("attic", (0, 0), &[], &[("w-4", "m", 0)]);
        assert_eq!(goes(&[there, here]).unwrap(), "localhost");
    }

    #[test]
    fn a_free_slot_goes_before_a_shorter_queue() {
        let narrow = hive("localhost", (9, 0), &[], &[("w-1", "m", 1)]);
        let wide = with_slots(4, hive("gpu-1", (9, 0), &[], &[("w-2", "m", 2)]));
        let wish = Wish { model: Some("m"), worker: None };
        let choice = choose(&[narrow.clone(), wide], wish).unwrap();
        assert_eq!(
            (&*choice.id, &*choice.reason),
            ("gpu-1", "the model is loaded, 2 of 4 slots free")
        );
        let full = with_slots(2, hive("gpu-1", (9, 0), &[], &[("w-2", "m", 3)]));
        let choice = choose(&[narrow, full.clone()], wish).unwrap();
        assert_eq!(choice.reason, "the model is loaded, one job before this one");
        assert_eq!(choice.id, "localhost");
        let choice = choose(&[full], wish).unwrap();
        assert_eq!(choice.reason, "the model is loaded, 2 jobs before this one");
    }

    #[test]
    fn a_model_on_a_disk_goes_where_it_fits_and_least_is_to_be_done() {
        let small = hive("localhost", (1, 0), &[("m", 4)], &[]);
        let busy = hive("gpu-1", (16, 9), &[("m", 4)], &[]);
        let idle = hive("gpu-2", (8, 1), &[("m", 4)], &[]);
        let large = hive("gpu-3", (64, 0), &[("other", 4)], &[("w", "other", 0)]);
        let hives = [small.clone(), busy.clone(), idle, large.clone()];
        assert_eq!(goes(&hives).unwrap(), "gpu-2");
        assert_eq!(goes(&[small.clone(), busy, large.clone()]).unwrap(), "gpu-1");
        let wish = Wish { model: Some("m"), worker: None };
        let choice = choose(&[small, large], wish).unwrap();
        assert_eq!(choice.id, "localhost");
        assert!(choice.reason.contains("fits in no hive's free memory"), "{}", choice.reason);
    }

    #[test]
    fn where_any_will_do_it_is_the_one_with_the_least_to_do() {
        let hives =
            [hive("localhost", (9, 4), &[], &[]), hive("gpu-1", (9, 1), &[("other", 1)], &[])];
        assert_eq!(goes(&hives), None);
        assert_eq!(least_loaded(&hives).unwrap().id, "gpu-1");
    }

    #[test]
    fn a_job_that_names_a_worker_goes_to_it() {
        let hives = [
            hive("localhost", (9, 0), &[("m", 1)], &[("w-1", "m", 0)]),
            hive("gpu-1", (9, 0), &[("m", 1)], &[("w-2", "m", 7)]),
        ];
        let wish = |worker| Wish { model: Some("m"), worker: Some(worker) };
        assert_eq!(choose(&hives, wish("w-2")).unwrap().id, "gpu-1");
        assert_eq!(choose(&hives, wish("w-9")), None);
    }
}
