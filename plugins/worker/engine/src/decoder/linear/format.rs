//! The formats of GGUF files, read into blocks.
//!
//! Source: `ggml-common.h` and `ggml-quants.c` of <https://github.com/ggml-org/ggml>.

use super::block::{BLOCK, Bytes, HalfBytes, Nibbles};

/// Bytes of a block in a file, which begins with its scale.
const Q4_0: usize = 2 + 16;
const Q4_1: usize = 4 + 16;
const Q5_0: usize = 2 + 4 + 16;
const Q8_0: usize = 2 + 32;
/// Eight blocks that share a scale.
const Q4_K: usize = 4 + 12 + 128;
const Q6_K: usize = 128 + 64 + 16 + 2;

/// A scale and the numbers 0 to 15, of which 8 stands for zero.
pub(super) fn q4_0(data: &[u8]) -> Vec<Nibbles> {
    let block = |block: &[u8; Q4_0]| {
        let scale = half(block[0], block[1]);
        Nibbles { scale, minimum: -8.0 * scale, pairs: part(&block[2..]) }
    };
    data.as_chunks().0.iter().map(block).collect()
}

/// A scale, a minimum and the numbers 0 to 15.
pub(super) fn q4_1(data: &[u8]) -> Vec<Nibbles> {
    let block = |block: &[u8; Q4_1]| Nibbles {
        scale: half(block[0], block[1]),
        minimum: half(block[2], block[3]),
        pairs: part(&block[4..]),
    };
    data.as_chunks().0.iter().map(block).collect()
}

/// A scale and numbers of 5 bits, of which the highest are kept apart.
pub(super) fn q5_0(data: &[u8]) -> Vec<Bytes> {
    let block = |block: &[u8; Q5_0]| {
        let (high, low) = block[2..].split_at(4);
        let number = |index: usize| {
            let nibble = (low[index % 16] >> (index / 16 * 4)) & 0x0f;
            let bit = (high[index / 8] >> (index % 8)) & 1;
            (nibble | bit << 4).cast_signed() - 16
        };
        Bytes { scale: half(block[0], block[1]), numbers: std::array::from_fn(number) }
    };
    data.as_chunks().0.iter().map(block).collect()
}

/// A scale and numbers of 8 bits.
pub(super) fn q8_0(data: &[u8]) -> Vec<Bytes> {
    let block = |block: &[u8; Q8_0]| {
        let numbers: [u8; BLOCK] = part(&block[2..]);
        Bytes { scale: half(block[0], block[1]), numbers: numbers.map(u8::cast_signed) }
    };
    data.as_chunks().0.iter().map(block).collect()
}

/// A scale and a minimum, by which eight blocks multiply theirs, of 6 bits each.
pub(super) fn q4_k(data: &[u8]) -> Vec<Nibbles> {
    let blocks = |block: &[u8; Q4_K]| -> [Nibbles; 8] {
        let (scale, minimum) = (half(block[0], block[1]), half(block[2], block[3]));
        let (factors, pairs) = block[4..].split_at(12);
        let factors: [u8; 12] = part(factors);
        let pairs: [u8; 128] = part(pairs);
        std::array::from_fn(|index| {
            // The first four blocks have their factors in the low bits of eight bytes. Those of the
            // others are in four more bytes, but for their two highest bits, which fill up the eight.
            let (factor, least) = if index < 4 {
                (factors[index] & 63, factors[index + 4] & 63)
            } else {
                let low = factors[index + 4];
                let (high_factor, high_least) = (factors[index - 4] >> 6, factors[index] >> 6);
                (low & 0x0f | high_factor << 4, low >> 4 | high_least << 4)
            };
            // Two blocks share 32 bytes: one has the low nibbles, the other the high ones.
            let shared = &pairs[index / 2 * BLOCK..][..BLOCK];
            let number = |at: usize| (shared[at] >> (index % 2 * 4)) & 0x0f;
            Nibbles {
                scale: scale * f32::from(factor),
                minimum: -minimum * f32::from(least),
                pairs: std::array::from_fn(|at| number(at) | number(at + 16) << 4),
            }
        })
    };
    data.as_chunks().0.iter().flat_map(blocks).collect()
}

/// Numbers of 6 bits, of which the two highest are kept apart; 16 of them have a scale of 8 bits, and
/// all 256 another.
pub(super) fn q6_k(data: &[u8]) -> Vec<HalfBytes> {
    let blocks = |block: &[u8; Q6_K]| -> [HalfBytes; 8] {
        let (low, rest) = block.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (factors, scale) = rest.split_at(16);
        let scale = half(scale[0], scale[1]);
        std::array::from_fn(|index| {
            // Four blocks share 64 bytes of low bits and 32 of high ones.
            let (group, place) = (index / 4, index % 4);
            let low = &low[group * 64 + place % 2 * BLOCK..][..BLOCK];
            let high = &high[group * BLOCK..][..BLOCK];
            let number = |at: usize| {
                let nibble = (low[at] >> (place / 2 * 4)) & 0x0f;
                let bits = (high[at] >> (place * 2)) & 3;
                (nibble | bits << 4).cast_signed() - 32
            };
            let factor = |half: usize| f32::from(factors[2 * index + half].cast_signed());
            HalfBytes {
                scales: [scale * factor(0), scale * factor(1)],
                numbers: std::array::from_fn(number),
            }
        })
    };
    data.as_chunks().0.iter().flat_map(blocks).collect()
}

/// A number of half precision. Infinities are not told apart: no weight is one.
fn half(low: u8, high: u8) -> f32 {
    // The exponent's bias is 15 in a half and 127 in a single.
    const REBIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let bits = u32::from(u16::from_le_bytes([low, high]));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| bytes[index])
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::CpuStorage;
    use candle_core::quantized::GgmlDType;

    use super::super::block::Block;
    use super::*;

    /// Two times 256 values of a format, with all kinds of bits but in the scales, of which one is 1
    /// and another -2.5.
    fn sample(kind: GgmlDType, scales_at: &[usize]) -> Vec<u8> {
        let blocks = 512 / kind.block_size();
        let mut data: Vec<u8> = (0..blocks * kind.type_size())
            .map(|n| u8::try_from(n * n / 7 % 251).unwrap() ^ 0x5a)
            .collect();
        for (index, block) in data.chunks_exact_mut(kind.type_size()).enumerate() {
            for &at in scales_at {
                let scale = if (index + at) % 3 == 0 { [0x00, 0x3c] } else { [0x00, 0xc1] };
                block[at..at + 2].copy_from_slice(&scale);
            }
        }
        data
    }

    fn values_are_those_of_candle<B: Block>(
        kind: GgmlDType,
        scales_at: &[usize],
        read: fn(&[u8]) -> Vec<B>,
    ) {
        let data = sample(kind, scales_at);
        let ours: Vec<f32> = read(&data).iter().flat_map(Block::weights).collect();
        let CpuStorage::F32(theirs) =
            kind.from_data(Cow::Owned(data)).dequantize(ours.len()).unwrap()
        else {
            unreachable!("dequantised values are of f32")
        };
        assert_eq!(ours.len(), 512);
        assert_eq!(ours, theirs, "{kind:?}");
    }

    #[test]
    fn no_value_changes() {
        values_are_those_of_candle(GgmlDType::Q4_0, &[0], q4_0);
        values_are_those_of_candle(GgmlDType::Q4_1, &[0, 2], q4_1);
        values_are_those_of_candle(GgmlDType::Q5_0, &[0], q5_0);
        values_are_those_of_candle(GgmlDType::Q8_0, &[0], q8_0);
        values_are_those_of_candle(GgmlDType::Q4K, &[0, 2], q4_k);
        values_are_those_of_candle(GgmlDType::Q6K, &[208], q6_k);
    }

    #[test]
    fn halves_have_their_values() {
        for (bits, value) in [
            (0x0000_u16, 0.0),
            (0x3c00, 1.0),
            (0xc100, -2.5),
            (0x7bff, 65504.0),
            (0x0001, 1.0 / 16_777_216.0),
            (0x8400, -1.0 / 16384.0),
        ] {
            let [low, high] = bits.to_le_bytes();
            assert!((half(low, high) - value).abs() == 0.0, "{bits:x}");
        }
    }
}
