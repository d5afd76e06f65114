//! Weights as they are kept in memory: blocks of whole numbers with a scale.
//!
//! A file's formats are brought to one of three forms when they are loaded. No weight changes: scales
//! that a file has as halves, or as products of two numbers, are kept as singles.
#![allow(clippy::inline_always, reason = "registers are passed")]

use super::lanes::{Numbers, Sums};
use super::round::Rounded;

/// Weights in a block.
pub(super) const BLOCK: usize = 32;

/// Some weights of a row.
pub(super) trait Block: Copy + Sync {
    /// Whether weights have a [`minimum`](Self::minimum); if not, it's 0.
    const HAS_MINIMUM: bool;

    /// The weights' whole numbers.
    fn numbers(&self) -> [Numbers; 2];

    /// Adds the products of `numbers`, which are the weights' own, with those of a row.
    fn add_products(&self, sums: Sums, numbers: [Numbers; 2], row: &Rounded) -> Sums;

    /// What is added to each weight's number times its scale.
    fn minimum(&self) -> f32;

    /// The weights themselves.
    fn weights(&self) -> [f32; BLOCK];
}

/// 4 bits a weight, from zero up, and a minimum: `Q4_0`, `Q4_1`, `Q4_K`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nibbles {
    pub(super) scale: f32,
    pub(super) minimum: f32,
    /// The first half of the weights is in the low nibbles, the second in the high ones.
    pub(super) pairs: [u8; BLOCK / 2],
}

/// 8 bits a weight: `Q8_0`, `Q5_0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    pub(super) scale: f32,
    pub(super) numbers: [i8; BLOCK],
}

/// 8 bits a weight, and a scale for each half: `Q6_K`.
#[derive(Debug, Clone, Copy)]
pub(super) struct HalfBytes {
    pub(super) scales: [f32; 2],
    pub(super) numbers: [i8; BLOCK],
}

impl Block for Nibbles {
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn numbers(&self) -> [Numbers; 2] {
        Numbers::of_nibbles(&self.pairs)
    }

    #[inline(always)]
    fn add_products(&self, sums: Sums, numbers: [Numbers; 2], row: &Rounded) -> Sums {
        let [first, second] = row.times(numbers);
        sums.add(first.plus(second), self.scale * row.scale)
    }

    #[inline(always)]
    fn minimum(&self) -> f32 {
        self.minimum
    }

    fn weights(&self) -> [f32; BLOCK] {
        std::array::from_fn(|at| {
            let number = self.pairs[at % 16] >> (at / 16 * 4) & 0x0f;
            f32::from(number) * self.scale + self.minimum
        })
    }
}

impl Block for Bytes {
    const HAS_MINIMUM: bool = false;

    #[inline(always)]
    fn numbers(&self) -> [Numbers; 2] {
        Numbers::of_bytes(&self.numbers)
    }

    #[inline(always)]
    fn add_products(&self, sums: Sums, numbers: [Numbers; 2], row: &Rounded) -> Sums {
        let [first, second] = row.times(numbers);
        sums.add(first.plus(second), self.scale * row.scale)
    }

    fn minimum(&self) -> f32 {
        0.0
    }

    fn weights(&self) -> [f32; BLOCK] {
        self.numbers.map(|number| f32::from(number) * self.scale)
    }
}

impl Block for HalfBytes {
    const HAS_MINIMUM: bool = false;

    #[inline(always)]
    fn numbers(&self) -> [Numbers; 2] {
        Numbers::of_bytes(&self.numbers)
    }

    #[inline(always)]
    fn add_products(&self, sums: Sums, numbers: [Numbers; 2], row: &Rounded) -> Sums {
        let [first, second] = row.times(numbers);
        let sums = sums.add(first, self.scales[0] * row.scale);
        sums.add(second, self.scales[1] * row.scale)
    }

    fn minimum(&self) -> f32 {
        0.0
    }

    fn weights(&self) -> [f32; BLOCK] {
        std::array::from_fn(|at| f32::from(self.numbers[at]) * self.scales[at / 16])
    }
}
