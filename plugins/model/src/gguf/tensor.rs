//! How much room weights take.

/// How many bytes `weights` weights of a type take: llama.cpp's `enum ggml_type`, and the sizes of
/// its blocks. `None` of a type that isn't known here.
pub(super) fn size(kind: u32, weights: u64) -> Option<u64> {
    let (block, bytes) = match kind {
        24 => (1, 1),
        1 | 25 | 30 => (1, 2),
        0 | 26 => (1, 4),
        27 | 28 => (1, 8),
        39 => (32, 17),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        19 => (256, 50),
        34 => (256, 54),
        29 => (256, 56),
        16 | 35 => (256, 66),
        17 => (256, 74),
        22 => (256, 82),
        10 => (256, 84),
        18 => (256, 98),
        11 | 21 => (256, 110),
        23 => (256, 136),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        _ => return None,
    };
    // What doesn't fit into 64 bits fits into no file.
    Some(weights.div_ceil(block).saturating_mul(bytes))
}
