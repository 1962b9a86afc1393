//! Meters: how often something happened, and how much of it there was each time.
//!
//! A [`Histogram`] is a row of atomic counters, one for each range between its bounds. To count costs two additions without a lock; what is
//! read while others count may be one event off between its parts, which is no matter for a curve over minutes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by size.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    /// How many were at most the bound of the same place, and more than the one before.
    within: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Each bound, with how many were at most that, and more than the bound before.
    pub within: Vec<(u64, u64)>,
    /// How many there were in all.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// One that has counted nothing; the bounds rise.
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, within: [const { AtomicU64::new(0) }; N], beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts one of this size.
    pub fn count(&self, size: u64) {
        let at = self.bounds.iter().position(|bound| size <= *bound);
        let counter = at.and_then(|at| self.within.get(at)).unwrap_or(&self.beyond);
        counter.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counted(&self) -> Counted {
        let counts = self.within.iter().map(|counter| counter.load(Ordering::Relaxed));
        let within: Vec<(u64, u64)> = self.bounds.iter().copied().zip(counts).collect();
        let count = within.iter().map(|(_, count)| count).sum::<u64>() + self.beyond.load(Ordering::Relaxed);
        Counted { within, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static BOUNDS: [u64; 3] = [1, 10, 100];

    proptest! {
        #[test]
        fn each_is_counted_once_where_it_belongs(sizes in prop::collection::vec(0u64..200, 0..50)) {
            let histogram = Histogram::new(&BOUNDS);
            sizes.iter().for_each(|size| histogram.count(*size));
            let counted = histogram.counted();
            prop_assert_eq!(counted.count, sizes.len() as u64);
            prop_assert_eq!(counted.sum, sizes.iter().sum::<u64>());
            let up_to = |bound| sizes.iter().filter(|size| **size <= bound).count() as u64;
            let expected = vec![(1, up_to(1)), (10, up_to(10) - up_to(1)), (100, up_to(100) - up_to(10))];
            prop_assert_eq!(counted.within, expected);
        }
    }
}
