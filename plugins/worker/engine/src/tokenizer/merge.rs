//! The heart of both kinds of vocabulary: join the two neighbours that fit best, until none fit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Joins neighbours until none can be joined.
///
/// `join` says what two neighbours make together, and how good that is: the lowest rank is joined
/// first, the leftmost of equals. The cost is `n log n`, whatever the text.
pub(super) fn merge<S: Copy>(symbols: &[S], join: impl Fn(S, S) -> Option<(u32, S)>) -> Vec<S> {
    let mut list = List::new(symbols);
    let mut queue = BinaryHeap::new();
    let offer = |list: &List<S>, queue: &mut BinaryHeap<_>, left: usize| {
        if let Some(right) = list.next(left)
            && let Some((rank, _)) = join(list.symbols[left], list.symbols[right])
        {
            queue.push(Reverse((rank, left)));
        }
    };
    for left in 0..symbols.len() {
        offer(&list, &mut queue, left);
    }
    while let Some(Reverse((rank, left))) = queue.pop() {
        // A neighbour may have been joined meanwhile; the pair that it makes now was offered then.
        let Some(right) = list.next(left).filter(|_| !list.removed[left]) else { continue };
        let Some((now, joined)) = join(list.symbols[left], list.symbols[right]) else { continue };
        if now != rank {
            continue;
        }
        list.join(left, right, joined);
        offer(&list, &mut queue, left);
        if let Some(before) = list.previous(left) {
            offer(&list, &mut queue, before);
        }
    }
    list.into_symbols()
}

/// A doubly linked list in vectors; the first one's predecessor and the last one's successor are
/// the length.
struct List<S> {
    symbols: Vec<S>,
    removed: Vec<bool>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl<S: Copy> List<S> {
    fn new(symbols: &[S]) -> Self {
        let length = symbols.len();
        Self {
            symbols: symbols.to_vec(),
            removed: vec![false; length],
            next: (1..=length).collect(),
            previous: (0..length).map(|at| at.checked_sub(1).unwrap_or(length)).collect(),
        }
    }

    fn next(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|&next| next < self.symbols.len())
    }

    fn previous(&self, at: usize) -> Option<usize> {
        Some(self.previous[at]).filter(|&previous| previous < self.symbols.len())
    }

    fn join(&mut self, left: usize, right: usize, joined: S) {
        self.symbols[left] = joined;
        self.removed[right] = true;
        self.next[left] = self.next[right];
        if let Some(after) = self.next(left) {
            self.previous[after] = left;
        }
    }

    fn into_symbols(self) -> Vec<S> {
        let kept = self.symbols.into_iter().zip(self.removed).filter(|(_, removed)| !removed);
        kept.map(|(symbol, _)| symbol).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symbols are numbers of letters; joins add them up, up to `limit`.
    fn merged(symbols: &[u32], limit: u32, rank: impl Fn(u32) -> u32) -> Vec<u32> {
        merge(symbols, |left, right| {
            let sum = left + right;
            (sum <= limit).then(|| (rank(sum), sum))
        })
    }

    #[test]
    fn the_leftmost_of_equals_is_joined_first() {
        assert_eq!(merged(&[1, 1, 1, 1, 1], 2, |_| 0), [2, 2, 1]);
    }

    #[test]
    fn a_lower_rank_is_joined_first() {
        assert_eq!(merged(&[3, 1, 1], 4, |sum| sum), [3, 2]);
        assert_eq!(merged(&[3, 1, 1], 4, |sum| 10 - sum), [4, 1]);
    }

    #[test]
    fn nothing_and_one_are_left_alone() {
        assert!(merged(&[], 9, |_| 0).is_empty());
        assert_eq!(merged(&[1], 9, |_| 0), [1]);
    }
}
