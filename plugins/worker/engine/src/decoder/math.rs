//! Arithmetic on slices, in shapes that the compiler turns into vector instructions.
#![allow(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]

/// Sums that are kept side by side, since a compiler may not reorder a sum of floats.
const LANES: usize = 32;

/// The function inside the feed-forward part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// The approximation of GELU by `tanh`.
    Gelu,
}

impl Activation {
    /// Replaces each gate by the activated gate times `up`.
    pub(super) fn gate(self, gates: &mut [f32], up: &[f32]) {
        match self {
            Self::Silu => gated(gates, up, |x| x / (1.0 + exp(-x))),
            Self::Gelu => gated(gates, up, |x| {
                // 0.5 x (1 + tanh(u)), where (1 + tanh(u)) / 2 is sigmoid(2 u).
                let u = 0.797_884_6 * x * (1.0 + 0.044_715 * x * x);
                x / (1.0 + exp(-2.0 * u))
            }),
        }
    }
}

fn gated(gates: &mut [f32], up: &[f32], activation: impl Fn(f32) -> f32) {
    for (gate, up) in gates.iter_mut().zip(up) {
        *gate = activation(*gate) * up;
    }
}

/// The scalar product.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Adds `factor * values` to `sums`.
pub(super) fn add_scaled(sums: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// Adds `values` to `sums`.
pub(super) fn add(sums: &mut [f32], values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Brings each part of `rows` that is as long as `weights` to the length that `weights` say.
pub(super) fn rms_norm(rows: &mut [f32], weights: &[f32], epsilon: f32) {
    for row in rows.chunks_exact_mut(weights.len()) {
        let mean = dot(row, row) / weights.len() as f32;
        let scale = 1.0 / (mean + epsilon).sqrt();
        for (value, weight) in row.iter_mut().zip(weights) {
            *value = *value * scale * weight;
        }
    }
}

/// Turns scores into probabilities.
pub(super) fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let scale = 1.0 / scores.iter().sum::<f32>();
    for score in scores {
        *score *= scale;
    }
}

/// e^x to within two units in the last place. It has no branches, unlike the one of the standard
/// library, and so many are computed at once.
fn exp(x: f32) -> f32 {
    // Adding this number rounds to a whole one, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has few enough bits to be multiplied exactly.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    let mut sum = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + factor;
    }
    let two_to_power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1f32.to_bits()));
    sum * two_to_power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_that_of_the_standard_library() {
        for step in -8600..8700 {
            let x = step as f32 * 0.01;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(((ours - exact) / exact).abs() < 4e-7, "exp({x}) = {ours}, not {exact}");
        }
    }

    #[test]
    fn exp_of_what_is_out_of_range_is_tiny_or_huge() {
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(1000.0) > 1e38);
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut scores = [1.0, 2.0, -3.0];
        softmax(&mut scores);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((scores[1] / scores[0] - std::f32::consts::E).abs() < 1e-5);
    }

    #[test]
    fn dot_takes_all_lengths() {
        let numbers: Vec<f32> = (1..=70).map(|n| n as f32).collect();
        for length in [0, 1, 31, 32, 33, 70] {
            let squares: usize = (1..=length).map(|n| n * n).sum();
            let product = dot(&numbers[..length], &numbers[..length]);
            assert!((product - squares as f32).abs() < 0.5, "{length}: {product}");
        }
    }

    #[test]
    fn activations_have_their_known_values() {
        for (activation, expected) in
            [(Activation::Silu, 0.731_058_6), (Activation::Gelu, 0.841_192)]
        {
            let mut gate = [1.0];
            activation.gate(&mut gate, &[2.0]);
            assert!((gate[0] - 2.0 * expected).abs() < 1e-5, "{activation:?} {gate:?}");
        }
    }
}
