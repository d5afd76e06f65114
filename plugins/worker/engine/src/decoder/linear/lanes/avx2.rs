//! Registers of AVX2. From arrays, the compiler finds its way to `vpmaddwd` in some cases only.
#![allow(unsafe_code, reason = "instructions")]
#![allow(clippy::inline_always, reason = "registers are passed")]

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_set1_epi8, _mm_shuffle_ps, _mm_srli_epi16,
    _mm256_add_epi32, _mm256_castps256_ps128, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_set1_ps, _mm256_setzero_ps,
};

// In all of this file. SAFETY: it's compiled only where the whole program is for AVX2 and FMA, which
// `check_cpu` holds against the processor; and what is loaded is within an array.

/// How far ahead weights are asked for, bytes: as far as the memory's answer takes.
const AHEAD: usize = 4096;

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(in super::super) struct Numbers(__m256i);

/// Products of whole numbers, or their sums: one for each lane.
#[derive(Clone, Copy)]
pub(in super::super) struct Products(__m256i);

/// Sums, as many as there are lanes.
#[derive(Clone, Copy)]
pub(in super::super) struct Sums(__m256);

/// Asks for what stands [`AHEAD`] of `this`, most likely what comes soon.
#[inline(always)]
pub(in super::super) fn prefetch<T>(this: &T) {
    let ahead = std::ptr::from_ref(this).cast::<i8>().wrapping_add(AHEAD);
    // A wish, which may also be for what isn't there.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
}

impl Numbers {
    /// The low nibbles, then the high ones.
    #[inline(always)]
    pub(in super::super) fn of_nibbles(pairs: &[u8; 16]) -> [Self; 2] {
        unsafe {
            let mask = _mm_set1_epi8(0x0f);
            let pairs = _mm_loadu_si128(pairs.as_ptr().cast());
            let (low, high) = (pairs, _mm_srli_epi16(pairs, 4));
            [low, high].map(|half| Self(_mm256_cvtepu8_epi16(_mm_and_si128(half, mask))))
        }
    }

    #[inline(always)]
    pub(in super::super) fn of_bytes(bytes: &[i8; 32]) -> [Self; 2] {
        let (halves, _) = bytes.as_chunks::<16>();
        [&halves[0], &halves[1]].map(|half| unsafe {
            Self(_mm256_cvtepi8_epi16(_mm_loadu_si128(half.as_ptr().cast())))
        })
    }

    #[inline(always)]
    pub(in super::super) fn of_row(row: &[i16; 32]) -> [Self; 2] {
        let (halves, _) = row.as_chunks::<16>();
        [&halves[0], &halves[1]]
            .map(|half| unsafe { Self(_mm256_loadu_si256(half.as_ptr().cast())) })
    }

    #[inline(always)]
    pub(in super::super) fn times(self, other: Self) -> Products {
        unsafe { Products(_mm256_madd_epi16(self.0, other.0)) }
    }
}

impl Products {
    #[inline(always)]
    pub(in super::super) fn plus(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_epi32(self.0, other.0)) }
    }
}

impl Sums {
    #[inline(always)]
    pub(in super::super) fn zero() -> Self {
        unsafe { Self(_mm256_setzero_ps()) }
    }

    /// Adds products, times `scale`.
    #[inline(always)]
    pub(in super::super) fn add(self, products: Products, scale: f32) -> Self {
        unsafe {
            Self(_mm256_fmadd_ps(_mm256_cvtepi32_ps(products.0), _mm256_set1_ps(scale), self.0))
        }
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub(in super::super) fn total(self) -> f32 {
        unsafe {
            let high = _mm256_extractf128_ps::<1>(self.0);
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}
