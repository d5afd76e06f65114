//! Rounds: every contender has its turn, again and again, so that a slow minute is everyone's.

use std::collections::BTreeMap;

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

/// All figures of one work: by figure, then by contender, each in the order of its first coming.
#[derive(Default)]
pub(crate) struct Figures {
    order: Vec<(&'static str, String)>,
    values: BTreeMap<(&'static str, String), Vec<f64>>,
}

impl Figures {
    /// Adds what one turn of `who` came to.
    pub(crate) fn add(&mut self, who: &str, sample: Sample) {
        for (figure, value) in sample {
            let key = (figure, who.to_owned());
            if !self.order.contains(&key) {
                self.order.push(key.clone());
            }
            self.values.entry(key).or_default().push(value);
        }
    }

    /// The spread of a figure of one contender.
    pub(crate) fn spread(&self, figure: &'static str, who: &str) -> Option<Spread> {
        let mut values = self.values.get(&(figure, who.to_owned()))?.clone();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            median: median(&values),
            min: *values.first()?,
            max: *values.last()?,
            rounds: values.len(),
        })
    }

    /// Every figure and contender that there is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &str, Spread)> {
        let mut order: Vec<_> = self.order.iter().collect();
        let first = |figure| self.order.iter().position(|(other, _)| *other == figure);
        order.sort_by_key(|(figure, _)| first(*figure));
        order
            .into_iter()
            .filter_map(|(figure, who)| Some((*figure, &**who, self.spread(figure, who)?)))
    }
}

/// The middle of sorted values; of an even number the mean of the two in the middle.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
