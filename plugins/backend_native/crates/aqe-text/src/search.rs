//! Searching: sums over the postings of a query's terms, and the best of them.

use std::cell::RefCell;

use crate::index::Index;
use crate::kernels::{FOLDS, add_four, add_plane, count_from, peaks, places_from, prefetch};
use crate::postings::{Near, ONE, Planes, SPAN, weight_in_steps};
use crate::subtokens::Parts;

const FUNCTION_WEIGHT: f64 = 0.3;
const TILE: usize = 1 << 12;
const LINE: usize = 16; // numbers to 64 bytes

/// Sums by row and their maxima by column: fresh memory would cost more than the sums.
#[derive(Default)]
struct Scratch {
    room: Vec<u32>, // for the sums, which begin with a line of memory: reads across two take twice as long
    first: usize,   // of the sums
    maxima: Vec<u32>, // of each column of sums; those of a tile are its length / `FOLDS` apart
}

impl Scratch {
    fn sums(&self) -> &[u32] {
        &self.room[self.first..]
    }

    /// Make room for the sums of `n` rows, all 0, and their maxima: of whole spans and whole columns.
    fn clear(&mut self, n: usize) -> (&mut [u32], &mut [u32]) {
        let spans = n.next_multiple_of(SPAN);
        self.room.resize(spans + LINE, 0);
        self.first = self.room.as_ptr().align_offset(64).min(LINE);
        self.maxima.resize(n / FOLDS, 0);
        let sums = &mut self.room[self.first..][..spans];
        sums[..n].fill(0);
        (sums, &mut self.maxima)
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The planes of the frequent terms of a query, each with its weight.
struct Frequent<'i>(Vec<(&'i Planes, u32)>);

/// A key and its score.
pub type Hit = (u64, f32);

impl Index {
    /// Return the terms of a query that some document holds, ascending, each with its weight. O(length log).
    pub fn weights(&self, query: &Parts) -> Vec<(u32, f64)> {
        let mut met: Vec<u32> = Vec::with_capacity(64);
        self.interner.known(query, &mut met);
        met.iter()
            .for_each(|&term| prefetch(&self.terms[term as usize]));
        met.sort_unstable();
        let weighed = met.chunk_by(|a, b| a == b).filter_map(|same| {
            let held = &self.terms[same[0] as usize];
            held.postings.prefetch();
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
        self.interner.text(number)
    }

    /// Return the best documents for a query: best first, ties by ascending key; at most `k`, all with a shared term.
    ///
    /// `among`, if given, are distinct keys; no other is returned. The index is weighed (see [`Index::weigh`]).
    /// O(postings of the query's terms + n).
    pub fn search(&self, query: &Parts, k: usize, among: Option<&[u64]>) -> Vec<Hit> {
        let mut leading = self.leading(query, k, among);
        leading.sort_unstable();
        leading.into_iter().map(Leading::hit).collect()
    }

    /// Return those that [`Index::search`] does, in no order, and the rows that they stand in.
    pub fn best(&self, query: &Parts, k: usize) -> (Vec<Hit>, Vec<u32>) {
        let leading = self.leading(query, k, None).into_iter();
        leading.map(|each| (each.hit(), each.row())).unzip()
    }

    fn leading(&self, query: &Parts, k: usize, among: Option<&[u64]>) -> Vec<Leading> {
        debug_assert!(self.is_weighed());
        let terms: Vec<_> = self
            .weights(query)
            .into_iter()
            .map(|(term, weight)| (term, weight_in_steps(weight)))
            .collect();
        // No impact is above 65,535.
        let most: u64 = terms
            .iter()
            .map(|&(_, weight)| u64::from(weight) * 65_535)
            .sum();
        if most <= u64::from(u32::MAX) || self.largest_sum(&terms) <= u64::from(u32::MAX) {
            SCRATCH.with_borrow_mut(|scratch| {
                let frequent = self.sum_up(&terms, scratch);
                self.best_of(scratch, &frequent, k, among)
            })
        } else {
            self.best_of_long(&terms, k, among)
        }
    }

    fn largest_sum(&self, terms: &[(u32, u32)]) -> u64 {
        let largest = |&(term, weight): &(u32, u32)| {
            let impacts = self.terms[term as usize].postings.iter();
            let most = impacts.map(|posting| u64::from(posting.impact)).max();
            u64::from(weight) * most.unwrap_or(0)
        };
        terms.iter().map(largest).sum()
    }

    /// Add up what terms tell of each row; of frequent ones what the upper planes tell, which is a little less.
    fn sum_up(&self, terms: &[(u32, u32)], scratch: &mut Scratch) -> Frequent<'_> {
        let n = self.n_rows().next_multiple_of(FOLDS);
        let (sums, maxima) = scratch.clear(n);
        let (mut rare, mut frequent) = (Vec::with_capacity(terms.len()), Vec::new());
        for &(term, weight) in terms {
            let postings = &self.terms[term as usize].postings;
            match postings.planes() {
                Some(planes) => frequent.push((planes, weight)),
                None => rare.push((postings, weight)),
            }
        }
        let frequent = Frequent(frequent);
        let uppers = frequent.uppers();
        for (span, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
            for &(postings, weight) in &rare {
                scatter(sums, postings.near(span), weight);
            }
        }
        let sums = &mut sums[..n];
        // A tile of the sums stays in the nearest cache while all terms are added to it.
        let tiles = sums.chunks_mut(TILE).zip(maxima.chunks_mut(TILE / FOLDS));
        for ((tile, maxima), start) in tiles.zip((0..).step_by(TILE)) {
            let next = start + TILE; // in another page of each plane, where the processor does not look ahead
            frequent
                .0
                .iter()
                .for_each(|(planes, _)| planes.prefetch(next));
            uppers.chunks(4).for_each(|some| add(tile, some, start));
            peaks(tile, maxima);
        }
        frequent
    }

    fn best_of(
        &self,
        scratch: &Scratch,
        frequent: &Frequent<'_>,
        k: usize,
        among: Option<&[u64]>,
    ) -> Vec<Leading> {
        let (rows, keys): (Vec<u32>, Vec<u64>) = match among {
            Some(keys) => keys
                .iter()
                .filter_map(|&key| Some((self.row(key)?, key)))
                .unzip(),
            None => {
                let rows = high_rows(scratch, k, self.n_rows(), frequent.most_missing());
                let keys = rows.iter().map(|&row| self.key_at(row as usize)).collect();
                (rows, keys)
            }
        };
        let mut sums: Vec<u32> = rows
            .iter()
            .map(|&row| scratch.sums()[row as usize])
            .collect();
        frequent.complete(&rows, &mut sums);
        let hits = rows.into_iter().zip(keys).zip(sums);
        let hits = hits.filter(|&(_, sum)| sum > 0);
        let score = |sum: u32| (f64::from(sum) / ONE) as f32;
        first(
            hits.map(|((row, key), sum)| Leading::new((key, score(sum)), row)),
            k,
        )
    }

    /// The same with sums that 32 bits do not hold: an enormous query, or an enormous `k1`.
    fn best_of_long(&self, terms: &[(u32, u32)], k: usize, among: Option<&[u64]>) -> Vec<Leading> {
        let mut sums = vec![0_u64; self.n_rows()];
        for &(term, weight) in terms {
            for posting in self.terms[term as usize].postings.iter() {
                sums[posting.row as usize] += u64::from(posting.impact) * u64::from(weight);
            }
        }
        let hit = |key: u64, row: u32| {
            let sum = sums[row as usize];
            (sum > 0).then(|| Leading::new((key, (sum as f64 / ONE) as f32), row))
        };
        match among {
            Some(keys) => first(keys.iter().filter_map(|&key| hit(key, self.row(key)?)), k),
            None => {
                let all = 0..self.n_rows() as u32;
                first(all.filter_map(|row| hit(self.key_at(row as usize), row)), k)
            }
        }
    }
}

impl<'i> Frequent<'i> {
    /// The upper planes, with the weights of their numbers; a plane comes again while its weight is above 16 bits.
    fn uppers(&self) -> Vec<(&'i [u8], i16)> {
        let mut uppers = Vec::with_capacity(self.0.len());
        for &(planes, weight) in &self.0 {
            let mut rest = u64::from(weight) << planes.shift;
            while rest > 0 {
                let part = i16::try_from(rest).unwrap_or(i16::MAX);
                uppers.push((&planes.upper[..], part));
                rest -= u64::from(part.unsigned_abs());
            }
        }
        uppers
    }

    /// How much less than a row's sum its sum by upper planes can be.
    fn most_missing(&self) -> u32 {
        self.0.iter().fold(0, |sum: u32, &(planes, weight)| {
            sum.saturating_add(weight.saturating_mul((1 << planes.shift) - 1))
        })
    }

    /// Add what the lower planes tell of rows.
    fn complete(&self, rows: &[u32], sums: &mut [u32]) {
        for &(planes, weight) in &self.0 {
            for (&row, sum) in rows.iter().zip(&mut *sums) {
                let lower = planes.lower.get(row as usize).copied();
                *sum += weight * u32::from(lower.unwrap_or(0));
            }
        }
    }
}

/// Add postings to the sums of their span.
fn scatter(sums: &mut [u32; SPAN], near: &[Near], weight: u32) {
    let mut add =
        |posting: &Near| sums[posting.place as usize] += u32::from(posting.impact) * weight;
    let (fours, rest) = near.as_chunks::<4>();
    for four in fours {
        four.iter().for_each(&mut add);
    }
    rest.iter().for_each(add);
}

/// Add up to four planes to the sums from `start` on. A plane ends with the last row that has its term.
fn add(tile: &mut [u32], planes: &[(&[u8], i16)], start: usize) {
    let n = tile.len();
    let rest = |i: usize| {
        let (plane, weight) = planes[i];
        let plane = plane.get(start..).unwrap_or(&[]);
        (&plane[..plane.len().min(n)], weight)
    };
    let mut done = 0;
    if planes.len() == 4 {
        let four: [_; 4] = std::array::from_fn(rest);
        done = four.iter().map(|(plane, _)| plane.len()).min().unwrap_or(0);
        let (planes, weights) = (four.map(|each| each.0), four.map(|each| each.1));
        add_four(&mut tile[..done], planes, weights);
    }
    for i in 0..planes.len() {
        let (plane, weight) = rest(i);
        add_plane(&mut tile[done..], &plane[done..], weight);
    }
}

/// Rows that hold all that can be among the best k, whose sums may be too low by what is missing.
fn high_rows(scratch: &Scratch, k: usize, n: usize, missing: u32) -> Vec<u32> {
    let (sums, maxima) = (scratch.sums(), &scratch.maxima);
    if maxima.len() <= 2 * k {
        return (0..n as u32).collect();
    }
    let floor = floor_of(maxima, k);
    let floor = floor - (floor >> 23); // less by what rounding to 24 bits may hide
    let least = floor.saturating_sub(missing).max(u32::from(missing == 0));
    let mut rows = Vec::with_capacity(2 * k);
    places_from(&sums[..n], least, &mut rows);
    rows
}

/// A number that the k-th largest is not below, and few are above that are not of the k largest.
///
/// By bisection, each step a count, which is faster than a selection. The k-th best of the columns' maxima is not above
/// the k-th best of all.
fn floor_of(maxima: &[u32], k: usize) -> u32 {
    let most = k + k / 8;
    let (mut floor, mut above) = (0, u64::from(maxima.iter().copied().max().unwrap_or(0)) + 1);
    while above - u64::from(floor) > 1 {
        let middle = u32::midpoint(floor, (above - 1) as u32).max(floor + 1);
        let count = count_from(maxima, middle);
        if count < k {
            above = u64::from(middle);
        } else {
            floor = middle;
            if count <= most {
                break;
            }
        }
    }
    floor
}

/// A hit and its row as one whole number: the better the smaller, the better of two equal scores being that of the
/// smaller key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Leading(u128);

impl Leading {
    /// Of a score above 0: the order of such numbers is that of their bits.
    fn new((key, score): Hit, row: u32) -> Self {
        Self(u128::from(!score.to_bits()) << 96 | u128::from(key) << 32 | u128::from(row))
    }

    fn hit(self) -> Hit {
        (
            (self.0 >> 32) as u64,
            f32::from_bits(!((self.0 >> 96) as u32)),
        )
    }

    fn row(self) -> u32 {
        self.0 as u32
    }
}

/// The k best, in no order. Their scores are above 0.
fn first(hits: impl Iterator<Item = Leading>, k: usize) -> Vec<Leading> {
    let mut leading: Vec<_> = hits.collect();
    if leading.len() > k {
        leading.select_nth_unstable(k - 1);
        leading.truncate(k);
    }
    leading
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_floor_is_a_bound(maxima in prop::collection::vec(0_u32..1000, 1..400), k in 1_usize..400) {
            prop_assume!(k <= maxima.len());
            let mut sorted = maxima.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let floor = floor_of(&maxima, k);
            prop_assert!(floor <= sorted[k - 1]);
            // Nothing is gained by a higher one, but a few rows less.
            let more = sorted.iter().filter(|&&value| value >= floor).count();
            prop_assert!(more <= k + k / 8 || floor == sorted[k - 1]);
        }

        #[test]
        fn planes_of_any_length_are_added(
            planes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5),
            start in 0_usize..70,
        ) {
            let weights = [3_i16, 500, 1, 32_000];
            let all: Vec<(&[u8], i16)> = planes.iter().map(|plane| &plane[..]).zip(weights).collect();
            let mut tile = vec![7; 20];
            add(&mut tile, &all, start);
            for (i, &sum) in tile.iter().enumerate() {
                let at = |(plane, weight): &(&[u8], i16)| {
                    plane.get(start + i).map_or(0, |&upper| u32::from(upper) * *weight as u32)
                };
                prop_assert_eq!(sum, 7 + all.iter().map(at).sum::<u32>());
            }
        }
    }
}
