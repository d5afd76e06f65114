//! Vector registers, in which whole numbers are multiplied and singles are added.
//!
//! Products of 16 bits are exact, and their sums fit into 32, for as many as a block has: weights have
//! 8 bits at most. Each of a register's sums has products of its own.

#[cfg(all(target_feature = "avx2", target_feature = "fma"))]
mod avx2;
#[cfg(any(test, not(all(target_feature = "avx2", target_feature = "fma"))))]
mod portable;

#[cfg(all(target_feature = "avx2", target_feature = "fma"))]
pub(super) use self::avx2::{Numbers, Products, Sums, prefetch};
#[cfg(not(all(target_feature = "avx2", target_feature = "fma")))]
pub(super) use self::portable::{Numbers, Products, Sums, prefetch};

#[cfg(all(test, target_feature = "avx2", target_feature = "fma"))]
mod tests {
    use super::{avx2, portable};

    /// Numbers of all sizes up to `most`.
    fn numbers<const N: usize>(most: i32, seed: i32) -> [i32; N] {
        std::array::from_fn(|at| {
            let number = (i32::try_from(at).unwrap() + 3) * seed * 7919;
            number % (2 * most + 1) - most
        })
    }

    #[test]
    fn the_instructions_do_what_the_portable_code_does() {
        for seed in 1..50 {
            let row = numbers::<32>(32_767, seed).map(|number| i16::try_from(number).unwrap());
            let bytes = numbers::<32>(127, seed + 1).map(|number| i8::try_from(number).unwrap());
            let pairs = numbers::<16>(127, seed).map(|number| u8::try_from(number + 127).unwrap());
            let total = {
                use avx2::{Numbers, Sums};
                let [first, second] = Numbers::of_row(&row);
                let [low, high] = Numbers::of_bytes(&bytes);
                let sums = Sums::zero().add(low.times(first).plus(high.times(second)), 0.5);
                let sums = sums.add(low.times(first), 0.25);
                let [low, high] = Numbers::of_nibbles(&pairs);
                sums.add(low.times(first).plus(high.times(second)), 2.0).total()
            };
            let expected = {
                use portable::{Numbers, Sums};
                let [first, second] = Numbers::of_row(&row);
                let [low, high] = Numbers::of_bytes(&bytes);
                let sums = Sums::zero().add(low.times(first).plus(high.times(second)), 0.5);
                let sums = sums.add(low.times(first), 0.25);
                let [low, high] = Numbers::of_nibbles(&pairs);
                sums.add(low.times(first).plus(high.times(second)), 2.0).total()
            };
            // They add in another order.
            assert!((total - expected).abs() < 64.0, "{total}, not {expected}");
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let (row, bytes) = ([-32_767; 32], [-128; 32]);
        let expected = 32.0 * 32_767.0 * 128.0;
        let with_avx2 = {
            let [row, _] = avx2::Numbers::of_row(&row);
            let products = avx2::Numbers::of_bytes(&bytes)[0].times(row);
            avx2::Sums::zero().add(products.plus(products), 1.0).total()
        };
        let portable = {
            let [row, _] = portable::Numbers::of_row(&row);
            let products = portable::Numbers::of_bytes(&bytes)[0].times(row);
            portable::Sums::zero().add(products.plus(products), 1.0).total()
        };
        for total in [with_avx2, portable] {
            assert!((total - expected).abs() < 64.0, "{total}, not {expected}");
        }
    }
}
