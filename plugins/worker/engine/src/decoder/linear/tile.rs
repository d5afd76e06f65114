//! Products of some rows of weights with some rows of activations: so many that their sums fill the
//! registers.
//!
//! A product is summed in the same order however many others are computed beside it, so a token's
//! scores don't depend on the batch it was read in.

use super::block::Block;
use super::lanes::{Sums, prefetch};
use super::round::Rounded;

/// Rows of weights that are taken together. Their sums, which don't wait for each other, hide the
/// time that an addition takes.
pub(super) const WEIGHTS: usize = 4;
/// Rows of activations that are taken together, where there are so many.
const ROWS: usize = 3;

/// Multiplies each row of `rows` with rows of weights, of `blocks` blocks each: a multiple of
/// [`WEIGHTS`]. A column has the products of one row, and leaves out those that it has no place for.
pub(super) fn multiply<B: Block>(
    weights: &[B],
    blocks: usize,
    rows: &[Rounded],
    columns: &mut [&mut [f32]],
) {
    for (index, weights) in weights.chunks_exact(WEIGHTS * blocks).enumerate() {
        let weights = parts(weights, blocks);
        let write = |column: &mut [f32], products: [f32; WEIGHTS]| {
            let places = column[index * WEIGHTS..].iter_mut();
            places.zip(products).for_each(|(place, product)| *place = product);
        };
        for (rows, columns) in rows.chunks(ROWS * blocks).zip(columns.chunks_mut(ROWS)) {
            if columns.len() == ROWS {
                let products: [_; ROWS] = products(weights, parts(rows, blocks));
                columns.iter_mut().zip(products).for_each(|(column, some)| write(column, some));
            } else {
                for (row, column) in rows.chunks_exact(blocks).zip(columns) {
                    let [products] = products(weights, [row]);
                    write(column, products);
                }
            }
        }
    }
}

/// The products of some rows of weights with each of some rows.
#[inline(never)]
fn products<B: Block, const ROWS: usize>(
    weights: [&[B]; WEIGHTS],
    rows: [&[Rounded]; ROWS],
) -> [[f32; WEIGHTS]; ROWS] {
    let length = weights[0].len();
    // All are as long: so the compiler knows.
    let (weights, rows) = (weights.map(|row| &row[..length]), rows.map(|row| &row[..length]));
    let mut sums = [[Sums::zero(); WEIGHTS]; ROWS];
    let mut minimums = [[0.0; WEIGHTS]; ROWS];
    for index in 0..length {
        for (which, weights) in weights.iter().enumerate() {
            let block = &weights[index];
            prefetch(block);
            let numbers = block.numbers();
            for (row, sums) in rows.iter().zip(&mut sums) {
                sums[which] = block.add_products(sums[which], numbers, &row[index]);
            }
        }
        if B::HAS_MINIMUM {
            let all = weights.map(|weights| weights[index].minimum());
            for (row, minimums) in rows.iter().zip(&mut minimums) {
                for (sum, minimum) in minimums.iter_mut().zip(all) {
                    *sum += minimum * row[index].sum;
                }
            }
        }
    }
    let total = |row: usize, which: usize| sums[row][which].total() + minimums[row][which];
    std::array::from_fn(|row| std::array::from_fn(|which| total(row, which)))
}

/// Cuts what has `N` rows into them.
fn parts<T, const N: usize>(all: &[T], length: usize) -> [&[T]; N] {
    std::array::from_fn(|index| &all[index * length..][..length])
}
