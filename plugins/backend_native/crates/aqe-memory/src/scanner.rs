//! Scans lists one after the other, and keeps the rows of the best estimates.

use crate::kernels::{BLOCK, Codes, Lookup, Survivors, scan};
use crate::level::Level;
use crate::select::{cut, threshold};

/// A scan of several lists with one threshold, which rises as better rows are found.
pub struct Scanner {
    level: Level,
    survivors: Survivors,
    keep: usize,
    bound: f32,
    /// Slots scanned.
    pub scanned: usize,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner {
            level: Level::Portable,
            survivors: Survivors::default(),
            keep: 0,
            bound: f32::NEG_INFINITY,
            scanned: 0,
        }
    }
}

impl Scanner {
    /// Begin a scan for the best `keep` rows.
    pub fn start(&mut self, level: Level, keep: usize) {
        self.survivors.reset((4 * keep).max(256));
        (self.level, self.keep) = (level, keep);
        (self.bound, self.scanned) = (f32::NEG_INFINITY, 0);
    }

    /// Scan a list, and fetch the head of the one that comes next. Estimates are from `base` on.
    pub fn scan(&mut self, lists: [&Codes; 2], query: &Lookup, base: f32) {
        let blocks = lists[0].len.div_ceil(BLOCK);
        let mut block = 0;
        while block < blocks {
            let (bound, found) = (self.bound, &mut self.survivors);
            block = scan(self.level, lists, query, base, bound, block, found);
            if self.survivors.is_full() {
                self.cut();
            }
        }
        self.scanned += blocks * BLOCK;
    }

    /// Keep the best only: as many as wanted, or up to an eighth more.
    pub fn finish(&mut self) {
        self.cut();
    }

    /// About the estimate of this rank among those found so far; minus infinity if there are no more.
    pub fn estimate_of(&self, rank: usize) -> f32 {
        let found = &self.survivors.estimates[..self.survivors.len];
        if found.len() <= rank {
            return f32::NEG_INFINITY;
        }
        threshold(self.level, found, rank).unwrap_or(f32::NEG_INFINITY)
    }

    /// Row numbers kept, in no order; a row that stands in two lists may be there twice.
    pub fn found(&self) -> &[u32] {
        &self.survivors.rows[..self.survivors.len]
    }

    /// Row numbers kept whose estimate is above a bound and not above another one.
    pub fn between(&self, low: f32, high: f32) -> impl Iterator<Item = u32> {
        let Survivors {
            estimates,
            rows,
            len,
        } = &self.survivors;
        let found = estimates[..*len].iter().zip(rows);
        found
            .filter(move |&(&estimate, _)| low < estimate && estimate <= high)
            .map(|(_, &row)| row)
    }

    fn cut(&mut self) {
        let Survivors {
            estimates,
            rows,
            len,
        } = &mut self.survivors;
        let (kept, bound) = cut(
            self.level,
            &mut estimates[..*len],
            &mut rows[..*len],
            self.keep,
        );
        *len = kept;
        self.bound = self.bound.max(bound);
    }
}
