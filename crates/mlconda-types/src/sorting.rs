//! Stable sorting with little machine code.
//!
//! The standard library's stable sort adds about six kilobytes to the program for each type and closure, and there are
//! dozens of mostly short lists. Here only indices are sorted, by one function for all types and orders; then the items
//! are swapped into place. To sort many thousands of items often, use the standard library.

use std::cmp::Ordering;

/// Sorts stably.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, Ord::cmp);
}

/// Sorts stably by a key. The key is computed again for each comparison.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |one, other| key(one).cmp(&key(other)));
}

/// Sorts stably with a comparison.
pub fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut indices: Vec<usize> = (0..items.len()).collect();
    sort_indices(&mut indices, &|one, other| compare(&items[one], &items[other]));
    for start in 0..indices.len() {
        // Follow each cycle of the permutation once: one swap moves an item to its final index.
        let mut index = start;
        loop {
            let from = std::mem::replace(&mut indices[index], index);
            if from == start || from == index {
                break;
            }
            items.swap(index, from);
            index = from;
        }
    }
}

/// Sorts the items of an iterator.
pub trait InOrder: Iterator + Sized {
    /// Sorts by the natural order.
    fn in_order(self) -> std::vec::IntoIter<Self::Item>
    where
        Self::Item: Ord,
    {
        self.in_order_by(Ord::cmp)
    }

    /// Sorts stably by a key.
    fn in_order_by_key<K: Ord>(self, key: impl Fn(&Self::Item) -> K) -> std::vec::IntoIter<Self::Item> {
        self.in_order_by(|one, other| key(one).cmp(&key(other)))
    }

    /// Sorts stably with a comparison.
    fn in_order_by(self, compare: impl Fn(&Self::Item, &Self::Item) -> Ordering) -> std::vec::IntoIter<Self::Item> {
        let mut items: Vec<Self::Item> = self.collect();
        sort_by(&mut items, compare);
        items.into_iter()
    }
}

impl<I: Iterator> InOrder for I {}

/// Collects into a [`BTreeMap`](std::collections::BTreeMap) or a [`BTreeSet`](std::collections::BTreeSet), item by
/// item. `collect` sorts the items first, and so adds the standard library's stable sort to the program for each type.
pub trait IntoTree: Iterator + Sized {
    /// Collects the items. Of equal keys of a map, the last value counts.
    fn into_tree<C: Default + Extend<Self::Item>>(self) -> C {
        let mut tree = C::default();
        tree.extend(self);
        tree
    }
}

impl<I: Iterator> IntoTree for I {}

#[inline(never)]
fn sort_indices(indices: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    indices.sort_by(|one, other| compare(*one, *other));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts_as_the_standard_library_does() {
        let mut dice = 7_u32;
        for length in 0..60 {
            let mut items: Vec<(u32, usize)> = (0..length)
                .map(|index| {
                    dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((dice >> 16) % 20, index)
                })
                .collect();
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            sort_by_key(&mut items, |item| item.0);
            assert_eq!(items, expected);
            expected.sort();
            assert_eq!(items.iter().rev().copied().in_order().collect::<Vec<_>>(), expected);
        }
    }
}
