//! Weights as they are kept in memory: blocks of whole numbers with a scale.
//!
//! A file's formats are brought to one of three forms when they are loaded. No weight changes: scales
//! that a file has as halves, or as products of two numbers, are kept as singles.
#![allow(clippy::inline_always, reason = "registers are passed")]

/// Weights in a block.
pub(super) const BLOCK: usize = 32;
/// Numbers in a vector register.
pub(super) const LANES: usize = 8;
/// Vector registers that a block fills.
pub(super) const CHUNKS: usize = BLOCK / LANES;

pub(super) type Lanes = [f32; LANES];

/// Some weights of a row.
pub(super) trait Block: Copy + Sync {
    /// The weights as numbers.
    fn unpack(&self) -> [Lanes; CHUNKS];
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
    #[inline(always)]
    fn unpack(&self) -> [Lanes; CHUNKS] {
        // A high nibble is 16 times its number: the scale makes up for it, and nothing is shifted.
        let unpack = |pairs: &[u8; LANES], mask: u8, scale: f32| {
            let numbers = pairs.each_ref().map(|pair| f32::from(pair & mask));
            product_and_sum(numbers, [scale; LANES], [self.minimum; LANES])
        };
        let (pairs, _) = self.pairs.as_chunks();
        let (low, high) = (self.scale, self.scale / 16.0);
        [
            unpack(&pairs[0], 0x0f, low),
            unpack(&pairs[1], 0x0f, low),
            unpack(&pairs[0], 0xf0, high),
            unpack(&pairs[1], 0xf0, high),
        ]
    }
}

impl Block for Bytes {
    #[inline(always)]
    fn unpack(&self) -> [Lanes; CHUNKS] {
        let (numbers, _) = self.numbers.as_chunks();
        let scaled = |numbers: [i8; LANES]| numbers.map(|number| f32::from(number) * self.scale);
        [scaled(numbers[0]), scaled(numbers[1]), scaled(numbers[2]), scaled(numbers[3])]
    }
}

impl Block for HalfBytes {
    #[inline(always)]
    fn unpack(&self) -> [Lanes; CHUNKS] {
        let (numbers, _) = self.numbers.as_chunks();
        let scaled = |numbers: [i8; LANES], scale| numbers.map(|number| f32::from(number) * scale);
        let [first, second] = self.scales;
        [
            scaled(numbers[0], first),
            scaled(numbers[1], first),
            scaled(numbers[2], second),
            scaled(numbers[3], second),
        ]
    }
}

/// `a * b + c`, rounded once where the processor does that in one instruction.
#[inline(always)]
pub(super) fn product_and_sum(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
    std::array::from_fn(|lane| {
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            a[lane].mul_add(b[lane], c[lane])
        } else {
            a[lane] * b[lane] + c[lane]
        }
    })
}
