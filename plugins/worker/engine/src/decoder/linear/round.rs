//! The rounding of activations.
#![allow(clippy::inline_always, reason = "registers are passed")]
#![allow(clippy::cast_possible_truncation, reason = "numbers are brought to their limits before")]

use super::block::BLOCK;
use super::lanes::{Numbers, Products};

/// A block of activations: whole numbers of a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rounded {
    pub(super) numbers: [i16; BLOCK],
    pub(super) scale: f32,
    /// Of the rounded activations, not of their numbers.
    pub(super) sum: f32,
}

impl Rounded {
    /// The products with numbers of weights, half by half.
    #[inline(always)]
    pub(super) fn times(&self, weights: [Numbers; 2]) -> [Products; 2] {
        let [first, second] = Numbers::of_row(&self.numbers);
        [weights[0].times(first), weights[1].times(second)]
    }
}

/// How far activations are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// As ggml rounds them (`Q8_1`): the largest of a block is 127 times a scale of half precision.
    Bytes,
    /// The largest of a block is 32,767 times its scale: what is lost is less than what a sum of
    /// singles loses.
    Words,
}

impl Precision {
    /// Rounds rows.
    pub(super) fn round(self, rows: &[f32]) -> Vec<Rounded> {
        rows.as_chunks().0.iter().map(|block| self.round_block(block)).collect()
    }

    fn round_block(self, block: &[f32; BLOCK]) -> Rounded {
        let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let limit = match self {
            Self::Bytes => 127.0,
            Self::Words => 32_767.0,
        };
        let scale = most / limit;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let numbers =
            block.map(|value| (value * inverse).round_ties_even().clamp(-limit, limit) as i16);
        let scale = if self == Self::Bytes { half_precision(scale) } else { scale };
        let sum: i32 = numbers.iter().map(|&number| i32::from(number)).sum();
        #[allow(clippy::cast_precision_loss, reason = "it's below 2^24")]
        let sum = sum as f32 * scale;
        Rounded { numbers, scale, sum }
    }
}

/// The nearest number with no more digits than a half has.
fn half_precision(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits((bits + 0x0fff + ((bits >> 13) & 1)) & !0x1fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_multiples_of_a_scale() {
        let mut row = [0.0; 2 * BLOCK];
        row[..4].copy_from_slice(&[127.0, -126.4, 0.6, 2.5]);
        let [first, second] = Precision::Bytes.round(&row)[..] else { unreachable!("two blocks") };
        assert_eq!(first.numbers[..5], [127, -126, 1, 2, 0]);
        assert_eq!((first.scale, first.sum), (1.0, 4.0));
        assert_eq!(second, Rounded { numbers: [0; BLOCK], scale: 0.0, sum: 0.0 });
    }

    #[test]
    fn words_lose_next_to_nothing() {
        let mut angle = 0.0_f32;
        let row = [(); BLOCK].map(|()| {
            angle += 1.7;
            angle.sin()
        });
        let rounded = Precision::Words.round(&row)[0];
        for (value, number) in row.iter().zip(rounded.numbers) {
            assert!((value - f32::from(number) * rounded.scale).abs() < 2e-5, "{value}");
        }
    }

    #[test]
    fn a_scale_has_eleven_digits() {
        let scale = half_precision(0.1);
        assert!((scale - 0.099_975_586).abs() < 1e-9, "{scale}");
    }
}
