//! Products of some rows of weights with some rows of activations, in shapes that the compiler turns
//! into vector instructions: what is to be a register is passed by value, and loops over registers are
//! written out.
//!
//! A product is summed in the same order however many others are computed beside it, so a token's
//! scores don't depend on the batch it was read in.
#![allow(clippy::inline_always, reason = "registers are passed")]

use super::block::{Block, CHUNKS, Lanes, product_and_sum};

/// Rows of weights that are taken together. Their sums, which don't wait for each other, hide the
/// time that an addition takes.
pub(super) const WEIGHTS: usize = 4;
/// Rows of activations that unpacked weights are multiplied with at once: so many that the sums fill
/// the registers.
const ROWS: usize = 3;

/// A register for each row of weights.
type Four = [Lanes; WEIGHTS];
/// A register for each row of activations.
type Three = [Lanes; ROWS];

/// Multiplies each row of `rows` with rows of weights, of `blocks` blocks each: a multiple of
/// [`WEIGHTS`]. A column has the products of one row, and leaves out those that it has no place for.
pub(super) fn multiply<B: Block>(
    weights: &[B],
    blocks: usize,
    rows: &[f32],
    columns: &mut [&mut [f32]],
) {
    let rows = rows.as_chunks().0;
    let mut unpacked = Vec::new();
    for (index, weights) in weights.chunks_exact(WEIGHTS * blocks).enumerate() {
        let write = |column: &mut [f32], products: [f32; WEIGHTS]| {
            let places = column[index * WEIGHTS..].iter_mut();
            places.zip(products).for_each(|(place, product)| *place = product);
        };
        if let [column] = columns {
            write(column, row_products(weights, rows.as_chunks().0));
            continue;
        }
        unpacked.clear();
        unpacked.extend(weights.iter().flat_map(Block::unpack));
        let length = blocks * CHUNKS;
        for (rows, columns) in rows.chunks(ROWS * length).zip(columns.chunks_mut(ROWS)) {
            if let [first, second, third] = columns {
                let products = tile_products(&unpacked, rows);
                write(first, products[0]);
                write(second, products[1]);
                write(third, products[2]);
            } else {
                for (row, column) in rows.chunks_exact(length).zip(columns) {
                    write(column, unpacked_row_products(&unpacked, row));
                }
            }
        }
    }
}

/// The products of some rows of weights with a row. Weights are unpacked on the way.
#[inline(never)]
fn row_products<B: Block>(weights: &[B], row: &[[Lanes; CHUNKS]]) -> [f32; WEIGHTS] {
    let [a, b, c, d] = parts(weights, row.len());
    let mut sums = Four::default();
    for (index, row) in row.iter().enumerate() {
        sums = [
            block_product(sums[0], a[index].unpack(), row),
            block_product(sums[1], b[index].unpack(), row),
            block_product(sums[2], c[index].unpack(), row),
            block_product(sums[3], d[index].unpack(), row),
        ];
    }
    totals(&sums)
}

/// The same of weights that are unpacked.
#[inline(never)]
fn unpacked_row_products(weights: &[Lanes], row: &[Lanes]) -> [f32; WEIGHTS] {
    let weights = parts(weights, row.len());
    let mut sums = Four::default();
    for (index, row) in row.iter().enumerate() {
        sums = register_products(sums, weights, index, *row);
    }
    totals(&sums)
}

/// The same of [`ROWS`] rows.
#[inline(never)]
fn tile_products(weights: &[Lanes], rows: &[Lanes]) -> [[f32; WEIGHTS]; ROWS] {
    let length = weights.len() / WEIGHTS;
    let weights: [&[Lanes]; WEIGHTS] = parts(weights, length);
    let rows: [&[Lanes]; ROWS] = parts(rows, length);
    let mut sums = [Three::default(); WEIGHTS];
    for index in 0..length {
        let rows = [rows[0][index], rows[1][index], rows[2][index]];
        sums = [
            products_with_three(sums[0], weights[0][index], rows),
            products_with_three(sums[1], weights[1][index], rows),
            products_with_three(sums[2], weights[2][index], rows),
            products_with_three(sums[3], weights[3][index], rows),
        ];
    }
    std::array::from_fn(|row| totals(&sums.map(|sums| sums[row])))
}

#[inline(always)]
fn block_product(sums: Lanes, weights: [Lanes; CHUNKS], row: &[Lanes; CHUNKS]) -> Lanes {
    let sums = product_and_sum(weights[0], row[0], sums);
    let sums = product_and_sum(weights[1], row[1], sums);
    let sums = product_and_sum(weights[2], row[2], sums);
    product_and_sum(weights[3], row[3], sums)
}

#[inline(always)]
fn register_products(sums: Four, weights: [&[Lanes]; WEIGHTS], index: usize, row: Lanes) -> Four {
    [
        product_and_sum(weights[0][index], row, sums[0]),
        product_and_sum(weights[1][index], row, sums[1]),
        product_and_sum(weights[2][index], row, sums[2]),
        product_and_sum(weights[3][index], row, sums[3]),
    ]
}

#[inline(always)]
fn products_with_three(sums: Three, weights: Lanes, rows: Three) -> Three {
    [
        product_and_sum(weights, rows[0], sums[0]),
        product_and_sum(weights, rows[1], sums[1]),
        product_and_sum(weights, rows[2], sums[2]),
    ]
}

/// Cuts what has `N` rows into them.
#[inline(always)]
fn parts<T, const N: usize>(all: &[T], length: usize) -> [&[T]; N] {
    std::array::from_fn(|index| &all[index * length..][..length])
}

/// The sum of each register's numbers.
///
/// It is no part of its callers, where the compiler would arrange all their work for its sake.
#[inline(never)]
fn totals(sums: &Four) -> [f32; WEIGHTS] {
    sums.map(|[a, b, c, d, e, f, g, h]| ((a + e) + (c + g)) + ((b + f) + (d + h)))
}
