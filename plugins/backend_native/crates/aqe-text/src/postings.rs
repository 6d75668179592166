//! The postings of one term, and what a posting adds to a score.

use std::ops::Range;

use crate::kernels::prefetch;

/// A document that holds a term.
#[derive(Clone, Copy, Debug)]
pub struct Posting {
    pub row: u32,
    pub tf: u16,
    pub impact: u16,
}

/// What a search reads of a posting: its row, counted from the beginning of its span, and what it adds.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    pub place: u16,
    pub impact: u16,
}

/// Rows to a span.
pub const SPAN: usize = 1 << 16;

/// Of a posting's impact, 1/256; of a term's weight, 1/128: sums of their products are exact in whole numbers.
const IMPACT_STEPS: f64 = 256.0;
const WEIGHT_STEPS: f64 = 128.0;
const LENGTH_STEPS: f64 = 16.0;
/// One, in the sums of impacts times weights.
pub const ONE: f64 = IMPACT_STEPS * WEIGHT_STEPS;

/// More than an eighth of the rows is frequent.
const DENSE_SHARE: usize = 8;
const MIN_DENSE: usize = 128;

/// BM25's saturated term frequency for a mean length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    factor: f64,
    base: f64,
    slope: f64,
}

impl Saturation {
    pub fn new(k1: f64, b: f64, unit: f64) -> Self {
        Self {
            factor: k1 + 1.0,
            base: k1 * (1.0 - b),
            slope: k1 * b / unit,
        }
    }

    /// `tf (k1 + 1) / (tf + k1 (1 - b + b length / unit))`, in steps, at least one.
    #[inline]
    pub fn impact(&self, tf: u16, length: i64) -> u16 {
        let damping = self.base + self.slope * length as f64;
        let exact = f64::from(tf) * self.factor / (f64::from(tf) + damping);
        (exact * IMPACT_STEPS).round_ties_even().max(1.0) as u16
    }
}

/// The mean length, rounded to one of sixteen steps an octave, so that it seldom changes with what is added.
pub fn length_unit(total: i64, n: usize) -> f64 {
    if total <= 0 {
        return 1.0;
    }
    let mean = total as f64 / n as f64;
    2_f64.powf((mean.log2() * LENGTH_STEPS).round_ties_even() / LENGTH_STEPS)
}

/// A weight in steps, at least one.
pub fn weight_in_steps(weight: f64) -> u32 {
    (weight * WEIGHT_STEPS).round_ties_even().max(1.0) as u32
}

/// Impacts by row, of a term that is frequent: faster to add than to look up. The upper bits are swept, and are a lower
/// bound; the others are looked up for the rows that lead.
#[derive(Debug)]
pub struct Planes {
    /// `upper << shift | lower` is the impact, or 0.
    pub shift: u32,
    pub upper: Vec<u8>,
    pub lower: Vec<u8>,
}

impl Planes {
    fn new(most: u16, n: usize) -> Self {
        let bits = u16::BITS - most.leading_zeros();
        Self {
            shift: bits.saturating_sub(u8::BITS),
            upper: vec![0; n],
            lower: vec![0; n],
        }
    }

    fn holds(&self, impact: u16) -> bool {
        impact >> self.shift <= u16::from(u8::MAX)
    }

    /// Ask for what is swept from a row on, for the next few.
    pub fn prefetch(&self, row: usize) {
        ask_for(self.upper.get(row..).unwrap_or(&[]));
    }

    fn set(&mut self, row: usize, impact: u16) {
        self.upper[row] = (impact >> self.shift) as u8;
        self.lower[row] = (impact & ((1 << self.shift) - 1)) as u8;
    }
}

fn ask_for<T>(values: &[T]) {
    let few = values.iter().step_by((64 / size_of::<T>()).max(1)).take(4);
    few.for_each(prefetch);
}

/// The documents that hold a term, ascending by row.
#[derive(Debug, Default)]
pub struct Postings {
    near: Vec<Near>,
    tf: Vec<u16>,
    spans: Vec<u32>, // where each span but the first begins
    planes: Option<Box<Planes>>,
}

impl Postings {
    /// Take the postings of one of `n` rows each, ascending.
    pub fn new(list: impl IntoIterator<Item = Posting>, n: usize) -> Self {
        let mut made = Self::default();
        list.into_iter().for_each(|posting| made.append(posting));
        made.redo(n);
        made
    }

    pub fn iter(&self) -> impl Iterator<Item = Posting> {
        self.spans().flat_map(|(first, range)| {
            let pairs = self.near[range.clone()].iter().zip(&self.tf[range]);
            pairs.map(move |(near, &tf)| Posting {
                row: (first + near.place as usize) as u32,
                tf,
                impact: near.impact,
            })
        })
    }

    /// The postings of a span.
    pub fn near(&self, span: usize) -> &[Near] {
        if span > self.spans.len() {
            return &[];
        }
        &self.near[self.range(span)]
    }

    fn spans(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        (0..=self.spans.len()).map(|span| (span * SPAN, self.range(span)))
    }

    fn range(&self, span: usize) -> Range<usize> {
        let bound = |i: usize| self.spans.get(i).map_or(self.len(), |&at| at as usize);
        let start = span.checked_sub(1).map_or(0, bound);
        start..bound(span)
    }

    pub fn planes(&self) -> Option<&Planes> {
        self.planes.as_deref()
    }

    pub fn len(&self) -> usize {
        self.near.len()
    }

    /// Ask for what a search reads first, after which the processor sees where it goes on.
    pub fn prefetch(&self) {
        match &self.planes {
            Some(planes) => planes.prefetch(0),
            None => ask_for(&self.near),
        }
    }

    fn append(&mut self, posting: Posting) {
        let (span, place) = (posting.row as usize / SPAN, posting.row as usize % SPAN);
        self.spans
            .resize(span.max(self.spans.len()), self.near.len() as u32);
        self.near.push(Near {
            place: place as u16,
            impact: posting.impact,
        });
        self.tf.push(posting.tf);
    }

    /// Add a row after all others.
    pub fn push(&mut self, posting: Posting) {
        self.append(posting);
        let n = posting.row as usize + 1;
        let becomes_frequent = self.planes.is_none() && self.is_frequent(n, DENSE_SHARE);
        match &mut self.planes {
            Some(planes) if planes.holds(posting.impact) => {
                planes.upper.resize(n, 0);
                planes.lower.resize(n, 0);
                planes.set(n - 1, posting.impact);
            }
            None if !becomes_frequent => {}
            _ => self.densify(n),
        }
    }

    fn densify(&mut self, n: usize) {
        let most = self.near.iter().map(|near| near.impact).max();
        let mut planes = Planes::new(most.unwrap_or(0), n);
        self.iter()
            .for_each(|posting| planes.set(posting.row as usize, posting.impact));
        self.planes = Some(Box::new(planes));
    }

    fn is_frequent(&self, n: usize, share: usize) -> bool {
        self.len() >= MIN_DENSE && self.len() * share > n
    }

    /// Forget a row. O(postings after it).
    pub fn remove(&mut self, row: u32) {
        let (span, place) = (row as usize / SPAN, (row as usize % SPAN) as u16);
        if span > self.spans.len() {
            return;
        }
        let range = self.range(span);
        let found = self.near[range.clone()].binary_search_by_key(&place, |near| near.place);
        let Ok(at) = found else {
            return;
        };
        self.near.remove(range.start + at);
        self.tf.remove(range.start + at);
        self.spans[span..].iter_mut().for_each(|begin| *begin -= 1);
        if let Some(planes) = &mut self.planes {
            planes.set(row as usize, 0);
            let n = planes.upper.len();
            // Later than it became dense, so that a term on the edge does not go back and forth.
            if !self.is_frequent(n, 2 * DENSE_SHARE) {
                self.planes = None;
            }
        }
    }

    /// Keep the rows that have a new number (not `u32::MAX`), under it; numbers keep their order. O(postings).
    pub fn renumber(&mut self, number: &[u32], n: usize) {
        let renumbered = self.iter().map(|posting| Posting {
            row: number[posting.row as usize],
            ..posting
        });
        *self = Self::new(renumbered.filter(|posting| posting.row != u32::MAX), n);
    }

    /// Compute all impacts anew. O(postings).
    pub fn weigh(&mut self, impact: impl Fn(&Posting) -> u16, n: usize) {
        let impacts: Vec<u16> = self.iter().map(|posting| impact(&posting)).collect();
        for (near, impact) in self.near.iter_mut().zip(impacts) {
            near.impact = impact;
        }
        self.redo(n);
    }

    fn redo(&mut self, n: usize) {
        self.planes = None;
        if self.is_frequent(n, DENSE_SHARE) {
            self.densify(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(postings: &Postings) -> Vec<(u32, u16, u16)> {
        let list = postings.iter();
        list.map(|posting| (posting.row, posting.tf, posting.impact))
            .collect()
    }

    proptest! {
        #[test]
        fn rows_of_many_spans_are_kept(
            rows in prop::collection::btree_set(0_u32..4 * SPAN as u32, 0..60),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut postings = Postings::default();
            let mut kept: Vec<_> = rows.iter().map(|&row| (row, row as u16, row as u16 ^ 5)).collect();
            for &(row, tf, impact) in &kept {
                postings.push(Posting { row, tf, impact });
            }
            prop_assert_eq!(all(&postings), kept.clone());
            for index in gone {
                if !kept.is_empty() {
                    let (row, ..) = kept.remove(index.index(kept.len()));
                    postings.remove(row);
                    postings.remove(row);
                }
            }
            prop_assert_eq!(postings.len(), kept.len());
            prop_assert_eq!(all(&postings), kept.clone());
            let near: Vec<_> = (0..5)
                .flat_map(|span| postings.near(span).iter().map(move |near| span * SPAN + near.place as usize))
                .collect();
            let expected: Vec<_> = kept.iter().map(|&(row, ..)| row as usize).collect();
            prop_assert_eq!(near, expected);

            let halves: Vec<u32> = (0..4 * SPAN as u32).map(|row| if row % 3 == 0 { u32::MAX } else { row / 2 }).collect();
            postings.renumber(&halves, 2 * SPAN);
            kept.retain(|held| held.0 % 3 != 0);
            kept.iter_mut().for_each(|held| held.0 /= 2);
            prop_assert_eq!(all(&postings), kept);
        }

        #[test]
        fn planes_hold_the_impacts(impacts in prop::collection::vec(any::<u16>(), 129..300), shift in 0..16_u32) {
            let mut postings = Postings::default();
            for (row, &impact) in (0..).zip(&impacts) {
                postings.push(Posting { row, tf: 1, impact: impact >> shift });
            }
            postings.remove(3);
            let planes = postings.planes().unwrap();
            for (row, &impact) in impacts.iter().enumerate() {
                let held = u16::from(planes.upper[row]) << planes.shift | u16::from(planes.lower[row]);
                prop_assert_eq!(held, if row == 3 { 0 } else { impact >> shift });
            }
        }
    }
}
