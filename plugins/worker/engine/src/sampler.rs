//! Drawing the next token from the model's scores.

use std::hash::{BuildHasher, RandomState};

use crate::{EngineError, Sampling};

/// Draws tokens by one request's [`Sampling`].
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    random: SplitMix64,
    /// Kept between tokens: a vocabulary has up to some hundred thousand of them.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// # Errors
    /// [`EngineError::InvalidRequest`] when a parameter is out of its range.
    pub(crate) fn new(sampling: Sampling) -> Result<Self, EngineError> {
        let Sampling { temperature, top_p, seed, .. } = sampling;
        if !(temperature.is_finite() && temperature >= 0.0) {
            let detail = format!("must be 0 or more, not {temperature}");
            return Err(EngineError::InvalidRequest { parameter: "temperature", detail });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            let detail = format!("must be above 0 and up to 1, not {top_p}");
            return Err(EngineError::InvalidRequest { parameter: "top_p", detail });
        }
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Ok(Self { sampling, random: SplitMix64(seed), candidates: Vec::new() })
    }

    /// The next token, given the score of each token of the vocabulary.
    pub(crate) fn sample(&mut self, scores: &[f32]) -> u32 {
        if self.sampling.temperature == 0.0 {
            return likeliest(scores);
        }
        self.weigh(scores);
        self.keep_top_k();
        self.keep_top_p();
        self.draw()
    }

    /// Fills the candidates with unnormalised probabilities, the likeliest token's being 1.
    fn weigh(&mut self, scores: &[f32]) {
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |score: f32| ((score - highest) / self.sampling.temperature).exp();
        self.candidates.clear();
        self.candidates.extend((0..).zip(scores).map(|(token, &score)| (token, weight(score))));
    }

    fn keep_top_k(&mut self) {
        let top_k = self.sampling.top_k;
        if top_k > 0 && top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(top_k - 1, likelier_first);
            self.candidates.truncate(top_k);
        }
    }

    fn keep_top_p(&mut self) {
        if self.sampling.top_p >= 1.0 {
            return;
        }
        self.candidates.sort_unstable_by(likelier_first);
        let enough = self.sampling.top_p * self.total();
        let mut sum = 0.0;
        let kept = self.candidates.iter().position(|&(_, weight)| {
            sum += weight;
            sum >= enough
        });
        if let Some(last) = kept {
            self.candidates.truncate(last + 1);
        }
    }

    fn draw(&mut self) -> u32 {
        let mut rest = self.random.next_unit() * self.total();
        for &(token, weight) in &self.candidates {
            rest -= weight;
            if rest < 0.0 {
                return token;
            }
        }
        // Rounding may leave a trace of `rest`; it belongs to the last candidate that has any weight.
        let weighty = self.candidates.iter().rev().find(|(_, weight)| *weight > 0.0);
        weighty.map_or(0, |&(token, _)| token)
    }

    fn total(&self) -> f32 {
        self.candidates.iter().map(|(_, weight)| weight).sum()
    }
}

/// The token with the highest score, the first one of equals.
fn likeliest(scores: &[f32]) -> u32 {
    let best = |best: (u32, f32), next: (u32, f32)| if next.1 > best.1 { next } else { best };
    (0..).zip(scores.iter().copied()).fold((0, f32::NEG_INFINITY), best).0
}

/// Equal weights are ordered by token, so that the same seed draws the same text everywhere.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that sorting wants")]
fn likelier_first(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 up to but without 1.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32 exactly")]
    fn next_unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 4] = [1.0, 3.0, 2.0, -1.0];

    fn drawn(sampling: Sampling) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut tokens: Vec<u32> = (0..2000).map(|_| sampler.sample(&SCORES)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    fn all() -> Sampling {
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, seed: Some(7) }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        assert_eq!(drawn(Sampling::greedy()), [1]);
    }

    #[test]
    fn nothing_is_cut_without_top_k_and_top_p() {
        assert_eq!(drawn(all()), [0, 1, 2, 3]);
    }

    #[test]
    fn top_k_draws_from_the_k_likeliest() {
        assert_eq!(drawn(Sampling { top_k: 2, ..all() }), [1, 2]);
    }

    #[test]
    fn top_p_draws_from_the_smallest_set_of_that_probability() {
        // The probabilities are 0.66, 0.24, 0.09 and 0.01.
        assert_eq!(drawn(Sampling { top_p: 0.6, ..all() }), [1]);
        assert_eq!(drawn(Sampling { top_p: 0.8, ..all() }), [1, 2]);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let mut sampler = Sampler::new(all()).unwrap();
        let hits = (0..20_000).filter(|_| sampler.sample(&SCORES) == 1).count();
        assert!((12_800..13_600).contains(&hits), "{hits}");
    }

    #[test]
    fn a_seed_gives_the_same_tokens_again() {
        let tokens = |seed| {
            let mut sampler = Sampler::new(Sampling { seed: Some(seed), ..all() }).unwrap();
            (0..50).map(|_| sampler.sample(&SCORES)).collect::<Vec<_>>()
        };
        assert_eq!(tokens(1), tokens(1));
        assert_ne!(tokens(1), tokens(2));
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        for (sampling, name) in [
            (Sampling { temperature: -0.1, ..all() }, "temperature"),
            (Sampling { temperature: f32::NAN, ..all() }, "temperature"),
            (Sampling { top_p: 0.0, ..all() }, "top_p"),
            (Sampling { top_p: 1.1, ..all() }, "top_p"),
        ] {
            let error = Sampler::new(sampling).unwrap_err();
            assert!(error.is_request_error() && error.to_string().starts_with(name), "{error}");
        }
    }
}
