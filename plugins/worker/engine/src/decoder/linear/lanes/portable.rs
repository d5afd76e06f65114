//! Registers as arrays, in shapes that the compiler turns into vector instructions: two products to a
//! lane, from places that stand beside those of the next lane.
#![allow(clippy::inline_always, reason = "registers are passed")]
#![allow(clippy::cast_precision_loss, reason = "sums of products are rounded")]

/// Numbers in a register of singles.
const LANES: usize = 8;

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(in super::super) struct Numbers([i16; 2 * LANES]);

/// Products of whole numbers, or their sums: one for each lane.
#[derive(Clone, Copy)]
pub(in super::super) struct Products([i32; LANES]);

/// Sums, as many as there are lanes.
#[derive(Clone, Copy)]
pub(in super::super) struct Sums([f32; LANES]);

/// Does nothing: there's no portable way.
#[inline(always)]
#[cfg_attr(test, allow(dead_code, reason = "compared with, not used"))]
pub(in super::super) fn prefetch<T>(_: &T) {}

impl Numbers {
    /// The low nibbles, then the high ones.
    #[inline(always)]
    pub(in super::super) fn of_nibbles(pairs: &[u8; 16]) -> [Self; 2] {
        [Self(pairs.map(|pair| (pair & 0x0f).into())), Self(pairs.map(|pair| (pair >> 4).into()))]
    }

    #[inline(always)]
    pub(in super::super) fn of_bytes(bytes: &[i8; 32]) -> [Self; 2] {
        let (halves, _) = bytes.as_chunks();
        [Self(halves[0].map(i16::from)), Self(halves[1].map(i16::from))]
    }

    #[inline(always)]
    pub(in super::super) fn of_row(row: &[i16; 32]) -> [Self; 2] {
        let (halves, _) = row.as_chunks();
        [Self(halves[0]), Self(halves[1])]
    }

    #[inline(always)]
    pub(in super::super) fn times(self, other: Self) -> Products {
        let product = |at: usize| i32::from(self.0[at]) * i32::from(other.0[at]);
        Products(std::array::from_fn(|lane| product(lane) + product(lane + LANES)))
    }
}

impl Products {
    #[inline(always)]
    pub(in super::super) fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

impl Sums {
    #[inline(always)]
    pub(in super::super) fn zero() -> Self {
        Self([0.0; LANES])
    }

    /// Adds products, times `scale`.
    #[inline(always)]
    pub(in super::super) fn add(self, products: Products, scale: f32) -> Self {
        Self(std::array::from_fn(|lane| {
            let product = products.0[lane] as f32;
            // Rounded once where the processor does that in one instruction.
            if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                product.mul_add(scale, self.0[lane])
            } else {
                product * scale + self.0[lane]
            }
        }))
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub(in super::super) fn total(self) -> f32 {
        self.0.iter().sum()
    }
}
