//! The rounding of activations.

use super::block::BLOCK;

/// Rounds each block to multiples of a scale of half precision: 127 of them are its largest value.
pub(super) fn to_bytes(rows: &[f32]) -> Vec<f32> {
    let mut rounded = rows.to_vec();
    for block in rounded.as_chunks_mut::<BLOCK>().0 {
        let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let scale = most / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let kept = half_precision(scale);
        for value in block {
            *value = (*value * inverse).round_ties_even() * kept;
        }
    }
    rounded
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
        let rounded = to_bytes(&row);
        assert_eq!(rounded[..5], [127.0, -126.0, 1.0, 2.0, 0.0]);
        assert_eq!(rounded[BLOCK..], [0.0; BLOCK]);
    }

    #[test]
    fn a_scale_has_eleven_digits() {
        let scale = half_precision(0.1);
        assert!((scale - 0.099_975_586).abs() < 1e-9, "{scale}");
    }
}
