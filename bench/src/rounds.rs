//! Rounds: every contender has its turn, again and again, so that a slow minute is everyone's.

use serde::Serialize;

/// What was measured once: figures by their names.
pub(crate) type Sample = Vec<(&'static str, f64)>;

/// A figure of one contender, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

/// All figures of one work, in the order of their first coming.
#[derive(Default)]
pub(crate) struct Figures(Vec<Series>);

/// A figure of one contender: a value a round, one at least.
struct Series {
    figure: &'static str,
    who: &'static str,
    values: Vec<f64>,
}

impl Figures {
    /// Adds what one turn of `who` came to.
    pub(crate) fn add(&mut self, who: &'static str, sample: Sample) {
        for (figure, value) in sample {
            match self.0.iter_mut().find(|one| (one.figure, one.who) == (figure, who)) {
                Some(series) => series.values.push(value),
                None => self.0.push(Series { figure, who, values: vec![value] }),
            }
        }
    }

    /// The spread of a figure of one contender.
    pub(crate) fn spread(&self, figure: &str, who: &str) -> Option<Spread> {
        self.0.iter().find(|one| (one.figure, one.who) == (figure, who)).map(Series::spread)
    }

    /// Every figure, and each contender's below it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, Spread)> {
        let first = |figure| self.0.iter().position(|other| other.figure == figure);
        let mut series: Vec<_> = self.0.iter().collect();
        series.sort_by_key(|one| first(one.figure));
        series.into_iter().map(|one| (one.figure, one.who, one.spread()))
    }
}

impl Series {
    fn spread(&self) -> Spread {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rounds = sorted.len();
        Spread { median: median(&sorted), min: sorted[0], max: sorted[rounds - 1], rounds }
    }
}

/// The middle of sorted values, of which there is one at least; of an even number the mean of the two in
/// the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}
