//! Rotary positions: queries and keys are turned by angles that grow with their place in the text.
#![allow(clippy::cast_precision_loss, reason = "positions are far below 2^52")]

/// Which values of a head are turned together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pairs {
    /// 0 with 1, 2 with 3: how GGUF stores `llama`.
    Adjacent,
    /// 0 with n/2, 1 with n/2 + 1.
    Halves,
}

/// The rule by which angles grow.
pub(super) struct Rope {
    pairs: Pairs,
    /// By how much a pair turns from one position to the next, in radians.
    speeds: Vec<f64>,
}

impl Rope {
    pub(super) fn new(pairs: Pairs, size: usize, base: f32, scale: f32) -> Self {
        let speed = |pair: usize| {
            let exponent = -2.0 * pair as f64 / size as f64;
            f64::from(scale) * f64::from(base).powf(exponent)
        };
        Self { pairs, speeds: (0..size / 2).map(speed).collect() }
    }

    /// Slows each pair down by a factor of its own, as Llama 3.1 does.
    pub(super) fn divided_by(mut self, factors: Option<&[f32]>) -> Self {
        for (speed, factor) in self.speeds.iter_mut().zip(factors.unwrap_or_default()) {
            *speed /= f64::from(*factor);
        }
        self
    }

    /// The angles at some positions.
    pub(super) fn angles(&self, positions: impl Iterator<Item = usize>) -> Angles {
        let turn = |position: usize| {
            self.speeds.iter().map(move |speed| {
                let (sine, cosine) = (position as f64 * speed).sin_cos();
                (single(cosine), single(sine))
            })
        };
        let turns = positions.flat_map(turn).collect();
        Angles { pairs: self.pairs, turns, pairs_per_head: self.speeds.len() }
    }
}

/// The angles at the positions of a batch.
pub(super) struct Angles {
    pairs: Pairs,
    /// Cosine and sine.
    turns: Vec<(f32, f32)>,
    pairs_per_head: usize,
}

impl Angles {
    /// Turns all heads of all rows.
    pub(super) fn apply(&self, rows: &mut [f32], width: usize, head_size: usize) {
        let turns = self.turns.chunks_exact(self.pairs_per_head);
        for (row, turns) in rows.chunks_exact_mut(width).zip(turns) {
            for head in row.chunks_exact_mut(head_size) {
                match self.pairs {
                    Pairs::Adjacent => {
                        for (pair, turn) in head.as_chunks_mut().0.iter_mut().zip(turns) {
                            *pair = turned(*pair, *turn);
                        }
                    }
                    Pairs::Halves => {
                        let (first, rest) = head.split_at_mut(self.pairs_per_head);
                        for ((a, b), turn) in first.iter_mut().zip(rest).zip(turns) {
                            [*a, *b] = turned([*a, *b], *turn);
                        }
                    }
                }
            }
        }
    }
}

/// Angles are computed in double precision: they grow with the text, and their error with them.
#[expect(clippy::cast_possible_truncation, reason = "what is lost is below a single's precision")]
fn single(number: f64) -> f32 {
    number as f32
}

fn turned([a, b]: [f32; 2], (cosine, sine): (f32, f32)) -> [f32; 2] {
    [a * cosine - b * sine, a * sine + b * cosine]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
    }

    #[test]
    fn the_first_position_is_not_turned() {
        let mut row = [1.0, 2.0, 3.0, 4.0];
        Rope::new(Pairs::Adjacent, 4, 100.0, 1.0).angles(0..1).apply(&mut row, 4, 4);
        close(&row, &[1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn pairs_turn_at_their_own_speed() {
        let (cosine, sine) = (1f32.cos(), 1f32.sin());
        let (slow_cosine, slow_sine) = (0.1f32.cos(), 0.1f32.sin());
        let mut row = [1.0, 0.0, 1.0, 0.0];
        Rope::new(Pairs::Adjacent, 4, 100.0, 1.0).angles(1..2).apply(&mut row, 4, 4);
        close(&row, &[cosine, sine, slow_cosine, slow_sine]);
        let mut row = [1.0, 1.0, 0.0, 0.0];
        Rope::new(Pairs::Halves, 4, 100.0, 1.0).angles(1..2).apply(&mut row, 4, 4);
        close(&row, &[cosine, slow_cosine, sine, slow_sine]);
    }

    #[test]
    fn values_past_the_turned_ones_stay() {
        let mut row = [1.0, 0.0, 5.0, 6.0];
        Rope::new(Pairs::Adjacent, 2, 100.0, 0.5).angles(2..3).apply(&mut row, 4, 4);
        close(&row, &[1f32.cos(), 1f32.sin(), 5.0, 6.0]);
    }
}
