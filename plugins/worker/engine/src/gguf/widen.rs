//! A quantised tensor in a wider form that computes faster, with the same values.

/// Values in a block of either form; both begin with the block's scale, of two bytes.
const BLOCK: usize = 32;
const SCALE: usize = 2;
const Q5_0_HIGH_BITS: usize = 4;
const Q5_0_BYTES: usize = SCALE + Q5_0_HIGH_BITS + BLOCK / 2;

/// Writes blocks of 5 bits a value, of which the highest are kept apart, as blocks of 8 bits a
/// value. No value changes: both forms are a scale times a whole number. They take half as much
/// memory again.
pub(super) fn q5_0_to_q8_0(blocks: &[u8]) -> Vec<u8> {
    let mut wide = Vec::with_capacity(blocks.len() / Q5_0_BYTES * (SCALE + BLOCK));
    for block in blocks.as_chunks::<Q5_0_BYTES>().0 {
        let (scale, rest) = block.split_at(SCALE);
        let (high, low) = rest.split_at(Q5_0_HIGH_BITS);
        wide.extend_from_slice(scale);
        wide.extend((0..BLOCK).map(|value| {
            // The first half of the values is in the low nibbles, the second in the high ones.
            let nibble = (low[value % 16] >> (value / 16 * 4)) & 0x0f;
            let bit = (high[value / 8] >> (value % 8)) & 1;
            (nibble | bit << 4).wrapping_sub(16)
        }));
    }
    wide
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::CpuStorage;
    use candle_core::quantized::GgmlDType;

    use super::*;

    #[test]
    fn no_value_changes() {
        // Two blocks with the scales 1 and -2.5, and all kinds of bits.
        let mut blocks = vec![0x00, 0x3c];
        blocks.extend((0..20).map(|n: u8| n.wrapping_mul(37)));
        blocks.extend([0x00, 0xc1]);
        blocks.extend((0..20).map(|n: u8| n.wrapping_mul(91).wrapping_add(5)));
        let values = |kind: GgmlDType, data: Vec<u8>| match kind
            .from_data(Cow::Owned(data))
            .dequantize(2 * BLOCK)
            .unwrap()
        {
            CpuStorage::F32(values) => values,
            _ => unreachable!("dequantised values are of f32"),
        };
        let wide = values(GgmlDType::Q8_0, q5_0_to_q8_0(&blocks));
        assert_eq!(wide, values(GgmlDType::Q5_0, blocks));
    }
}
