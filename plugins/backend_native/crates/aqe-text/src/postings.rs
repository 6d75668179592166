//! The postings of one term, and what a posting adds to a score.

/// A document that holds a term.
#[derive(Clone, Copy, Debug)]
pub struct Posting {
    pub row: u32,
    pub tf: u16,
    pub impact: u16,
}

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

/// The documents that hold a term, ascending by row.
#[derive(Debug, Default)]
pub struct Postings {
    list: Vec<Posting>,
    dense: Vec<u16>, // impacts by row while the term is frequent: faster to add than to look up; else empty
}

impl Postings {
    /// Take the postings of one of `n` rows each, ascending.
    pub fn new(list: Vec<Posting>, n: usize) -> Self {
        let mut made = Self {
            list,
            dense: Vec::new(),
        };
        made.redo(n);
        made
    }

    pub fn list(&self) -> &[Posting] {
        &self.list
    }

    pub fn dense(&self) -> Option<&[u16]> {
        (!self.dense.is_empty()).then_some(&self.dense)
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Add a row after all others.
    pub fn push(&mut self, posting: Posting) {
        self.list.push(posting);
        let n = posting.row as usize + 1;
        if !self.dense.is_empty() {
            self.dense.resize(n, 0);
            self.dense[n - 1] = posting.impact;
        } else if self.list.len() >= MIN_DENSE && self.list.len() * DENSE_SHARE > n {
            self.densify();
        }
    }

    fn densify(&mut self) {
        let n = self.list.last().map_or(0, |last| last.row as usize + 1);
        self.dense.clear();
        self.dense.resize(n, 0);
        for posting in &self.list {
            self.dense[posting.row as usize] = posting.impact;
        }
    }

    fn is_frequent(&self, n: usize, share: usize) -> bool {
        self.list.len() >= MIN_DENSE && self.list.len() * share > n
    }

    /// Forget a row. O(postings after it).
    pub fn remove(&mut self, row: u32) {
        let Ok(at) = self.list.binary_search_by_key(&row, |posting| posting.row) else {
            return;
        };
        self.list.remove(at);
        if let Some(impact) = self.dense.get_mut(row as usize) {
            *impact = 0;
            // Later than it became dense, so that a term on the edge does not go back and forth.
            if !self.is_frequent(self.dense.len(), 2 * DENSE_SHARE) {
                self.dense = Vec::new();
            }
        }
    }

    /// Keep the rows that have a new number (not `u32::MAX`), under it; numbers keep their order. O(postings).
    pub fn renumber(&mut self, number: &[u32], n: usize) {
        for posting in &mut self.list {
            posting.row = number[posting.row as usize];
        }
        self.list.retain(|posting| posting.row != u32::MAX);
        self.redo(n);
    }

    /// Compute all impacts anew. O(postings).
    pub fn weigh(&mut self, impact: impl Fn(&Posting) -> u16, n: usize) {
        for posting in &mut self.list {
            posting.impact = impact(posting);
        }
        self.redo(n);
    }

    fn redo(&mut self, n: usize) {
        self.dense = Vec::new();
        if self.is_frequent(n, DENSE_SHARE) {
            self.densify();
        }
    }
}
