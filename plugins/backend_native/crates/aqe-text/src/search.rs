//! Searching: sums over the postings of a query's terms, and the best of them.

use std::cell::RefCell;
use std::cmp::Ordering;

use crate::index::Index;
use crate::kernels::{add_dense, peaks};
use crate::postings::{ONE, weight_in_steps};
use crate::subtokens::Foreign;

const FUNCTION_WEIGHT: f64 = 0.3;
const TILE: usize = 1 << 12;
const FOLDS: usize = 16; // sums to a column

/// The maxima of columns of sums, twice.
type Maxima = (Vec<u32>, Vec<u32>);

thread_local! {
    /// The sums and their maxima: fresh memory would cost more than the sums.
    static SCRATCH: RefCell<(Vec<u32>, Maxima)> =
        const { RefCell::new((Vec::new(), (Vec::new(), Vec::new()))) };
}

/// A key and its score.
pub type Hit = (u64, f32);

impl Index {
    /// Return the terms of a query that some document holds, ascending, each with its weight. O(length log).
    pub fn weights(&self, query: &[u8], foreign: &Foreign) -> Vec<(u32, f64)> {
        let mut met: Vec<u32> = Vec::with_capacity(64);
        self.interner.known(query, foreign, |term| met.push(term));
        met.sort_unstable();
        let weighed = met.chunk_by(|a, b| a == b).filter_map(|same| {
            let held = &self.terms[same[0] as usize];
            let (n, df) = (self.len() as f64, held.postings.len() as f64);
            let idf = ((n - df + 0.5) / (df + 0.5) + 1.0).ln();
            let common = if held.common { FUNCTION_WEIGHT } else { 1.0 };
            let count = same.len() as f64;
            (df > 0.0).then_some((same[0], common * idf * 2.0 * count / (count + 1.0)))
        });
        weighed.collect()
    }

    /// The text of a term that [`Index::weights`] named.
    pub fn term(&self, number: u32) -> &[u8] {
        &self.interner.texts()[number as usize]
    }

    /// Return the best documents for a query: best first, ties by ascending key; at most `k`, all with a shared term.
    ///
    /// `among`, if given, are distinct keys; no other is returned. The index is weighed (see [`Index::weigh`]).
    /// O(postings of the query's terms + n).
    pub fn search(
        &self,
        query: &[u8],
        foreign: &Foreign,
        k: usize,
        among: Option<&[u64]>,
    ) -> Vec<Hit> {
        debug_assert!(self.is_weighed());
        let terms: Vec<_> = self
            .weights(query, foreign)
            .into_iter()
            .map(|(term, weight)| (term, weight_in_steps(weight)))
            .collect();
        // No impact is above 65,535.
        let most: u64 = terms
            .iter()
            .map(|&(_, weight)| u64::from(weight) * 65_535)
            .sum();
        if most <= u64::from(u32::MAX) || self.largest_sum(&terms) <= u64::from(u32::MAX) {
            SCRATCH.with_borrow_mut(|(sums, scratch)| {
                sums.clear();
                sums.resize(self.n_rows(), 0);
                self.sum_up(&terms, sums);
                self.best_of(sums, scratch, k, among)
            })
        } else {
            self.best_of_long(&terms, k, among)
        }
    }

    fn largest_sum(&self, terms: &[(u32, u32)]) -> u64 {
        let largest = |&(term, weight): &(u32, u32)| {
            let list = self.terms[term as usize].postings.list();
            u64::from(weight)
                * list
                    .iter()
                    .map(|posting| u64::from(posting.impact))
                    .max()
                    .unwrap_or(0)
        };
        terms.iter().map(largest).sum()
    }

    fn sum_up(&self, terms: &[(u32, u32)], sums: &mut [u32]) {
        let mut frequent: Vec<(&[u16], u32)> = Vec::new();
        for &(term, weight) in terms {
            let postings = &self.terms[term as usize].postings;
            if let Some(impacts) = postings.dense() {
                frequent.push((impacts, weight));
                continue;
            }
            for posting in postings.list() {
                sums[posting.row as usize] += u32::from(posting.impact) * weight;
            }
        }
        // A tile of the sums stays in the nearest cache while all lists are added to it.
        for (tile, start) in sums.chunks_mut(TILE).zip((0..).step_by(TILE)) {
            for &(impacts, weight) in &frequent {
                if let Some(impacts) = impacts.get(start..) {
                    add_dense(tile, impacts, weight);
                }
            }
        }
    }

    fn best_of(
        &self,
        sums: &[u32],
        scratch: &mut Maxima,
        k: usize,
        among: Option<&[u64]>,
    ) -> Vec<Hit> {
        let score = |sum: u32| (f64::from(sum) / ONE) as f32;
        if let Some(keys) = among {
            let rows = keys
                .iter()
                .filter_map(|&key| Some((key, sums[self.row(key)? as usize])));
            return first(
                rows.filter(|&(_, sum)| sum > 0)
                    .map(|(key, sum)| (key, score(sum)))
                    .collect(),
                k,
            );
        }
        // All rows before the first key: reading one key after the other, the processor waits for many at a time.
        let rows = high_rows(sums, scratch, k);
        let hits = rows
            .iter()
            .map(|&row| (self.key_at(row as usize), score(sums[row as usize])));
        first(hits.collect(), k)
    }

    /// The same with sums that 32 bits do not hold: an enormous query, or an enormous `k1`.
    fn best_of_long(&self, terms: &[(u32, u32)], k: usize, among: Option<&[u64]>) -> Vec<Hit> {
        let mut sums = vec![0_u64; self.n_rows()];
        for &(term, weight) in terms {
            for posting in self.terms[term as usize].postings.list() {
                sums[posting.row as usize] += u64::from(posting.impact) * u64::from(weight);
            }
        }
        let hit = |key: u64, sum: u64| (sum > 0).then_some((key, (sum as f64 / ONE) as f32));
        let hits = match among {
            Some(keys) => keys
                .iter()
                .filter_map(|&key| hit(key, sums[self.row(key)? as usize]))
                .collect(),
            None => sums
                .iter()
                .enumerate()
                .filter_map(|(row, &sum)| hit(self.key_at(row), sum))
                .collect(),
        };
        first(hits, k)
    }
}

/// Rows that hold all that can be among the best k, of sums above 0.
fn high_rows(sums: &[u32], (maxima, order): &mut Maxima, k: usize) -> Vec<u32> {
    let mut rows = Vec::with_capacity((2 * k).min(sums.len()));
    let mut take = |row: usize, floor: u32| {
        if sums[row] >= floor {
            rows.push(row as u32);
        }
    };
    let columns = sums.len() / FOLDS;
    if columns <= 2 * k {
        (0..sums.len()).for_each(|row| take(row, 1));
        return rows;
    }
    let floor = floor_of(sums, columns, k, maxima, order).max(1);
    for (column, &most) in maxima.iter().enumerate() {
        if most >= floor {
            let rows = (column..columns * FOLDS).step_by(columns);
            rows.for_each(|row| take(row, floor));
        }
    }
    (columns * FOLDS..sums.len()).for_each(|row| take(row, floor));
    rows
}

/// A number that the k-th best sum is not below, after rounding to float32; `maxima` are those of the columns then.
///
/// Sum `i` is in column `i % columns`, but for the last few, which are in none.
fn floor_of(
    sums: &[u32],
    columns: usize,
    k: usize,
    maxima: &mut Vec<u32>,
    order: &mut Vec<u32>,
) -> u32 {
    maxima.resize(columns, 0);
    peaks(sums, maxima);
    order.clone_from(maxima);
    // The k-th best of the columns' maxima is not above the k-th best of all.
    let (_, &mut floor, _) = order.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    floor - (floor >> 23) // less by what rounding to 24 bits may hide
}

/// The k best, in order.
fn first(mut hits: Vec<Hit>, k: usize) -> Vec<Hit> {
    let order = |a: &Hit, b: &Hit| -> Ordering { b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) };
    if hits.len() > k {
        hits.select_nth_unstable_by(k - 1, order);
        hits.truncate(k);
    }
    hits.sort_unstable_by(order);
    hits
}
