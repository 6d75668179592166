//! One search: choose lists, scan codes, refine by planes.

use crate::Metric;
use crate::centroids::Ranking;
use crate::kernels::{Survivors, dot_f32, prefetch, scan, vectorized};
use crate::list::List;
use crate::query::Query;
use crate::select::{cut, threshold};
use crate::state::{State, TAIL, Tuning, normalize};

/// So many rows ahead are fetched from memory.
const AHEAD: usize = 8;

/// Scratch of a thread.
#[derive(Default)]
pub struct Scratch {
    query: Query,
    ranking: Ranking,
    survivors: Survivors,
    /// First slot and number of each list scanned, the first slot ascending.
    spans: Vec<(u32, u32)>,
    order: Vec<(f32, u32)>,
    seen: Vec<u32>,
    rows: Vec<u32>,
    rough: Vec<f32>,
    /// Scores and keys, best first.
    pub top: Vec<(f32, u64)>,
    /// Slots scanned by the last search.
    pub scanned: usize,
}

/// How much work a search does.
#[derive(Clone, Copy, Debug)]
pub enum Effort {
    /// Score every row.
    Exact,
    /// Scan so many lists and refine so many rows.
    Probe {
        /// Lists.
        probes: usize,
        /// Rows.
        refine: usize,
    },
}

impl State {
    /// What a search for k rows does, by the tuning or with so many rows refined.
    pub fn effort(&self, k: usize, ef: Option<usize>, exact: bool) -> Effort {
        let Tuning {
            probes,
            refine,
            measured_on,
            ..
        } = self.tuning;
        let unknown = measured_on == 0 && ef.is_none();
        let more = k.max(10) as f64 / 10.0;
        let (wanted, factor) = match ef {
            // A row may be found in both of its lists, and k rows have to be left.
            Some(ef) => (ef.max(2 * k), ef.max(2 * k) as f64 / refine as f64),
            None => ((refine as f64 * more) as usize, more),
        };
        if exact || unknown || wanted.saturating_mul(2) >= self.rows.alive() {
            return Effort::Exact;
        }
        Effort::Probe {
            probes: ((probes as f64 * factor).ceil() as usize).max(1),
            refine: wanted,
        }
    }

    /// Find the k best rows; they are in `scratch.top` then.
    pub fn search(&self, vector: &[f32], k: usize, effort: Effort, scratch: &mut Scratch) {
        let dot_mean = self.prepare(vector, scratch);
        scratch.top.clear();
        scratch.scanned = 0;
        if let Effort::Probe { probes, refine } = effort {
            self.scan_codes(dot_mean as f32, probes, refine, scratch);
            self.refine(dot_mean, k, scratch);
            if scratch.top.len() >= k.min(self.rows.alive()) {
                return;
            }
            scratch.top.clear();
        }
        self.score_all(dot_mean, k, self.rows.living(), scratch);
    }

    /// Find the k best of some rows.
    pub fn search_among(&self, vector: &[f32], k: usize, rows: &[u32], scratch: &mut Scratch) {
        let dot_mean = self.prepare(vector, scratch);
        scratch.top.clear();
        let fetch = |at: usize| {
            if let Some(&row) = rows.get(at) {
                prefetch(self.rows.rough_bytes(row));
                prefetch(self.rows.rest_bytes(row));
            }
        };
        (0..AHEAD).for_each(fetch);
        let rows = rows.iter().enumerate().map(|(at, &row)| {
            fetch(at + AHEAD);
            row
        });
        self.score_all(dot_mean, k, rows, scratch);
    }

    /// Prepare the query; return its dot product with the mean.
    pub(crate) fn prepare(&self, vector: &[f32], scratch: &mut Scratch) -> f64 {
        let query = &mut scratch.query;
        query.floats.resize(self.rows.width, 0.0);
        vectorized(
            self.level,
            #[inline(always)]
            || normalize(vector, self.metric, &mut query.floats),
        );
        query.prepare(self.level);
        let mean = &self.rows.mean;
        f64::from(vectorized(
            self.level,
            #[inline(always)]
            || dot_f32(&query.floats, mean),
        ))
    }

    /// The score of a row for the query that was prepared.
    pub(crate) fn score_of(&self, dot_mean: f64, row: u32, scratch: &Scratch) -> f32 {
        self.rows.score(&scratch.query, dot_mean, row)
    }

    fn scan_codes(&self, dot_mean: f32, probes: usize, refine: usize, scratch: &mut Scratch) {
        let Scratch {
            query,
            ranking,
            survivors,
            spans,
            order,
            ..
        } = scratch;
        survivors.reset((4 * refine).max(256));
        spans.clear();
        let mut scanner = Scanner {
            state: self,
            query,
            survivors,
            spans,
            refine,
            start: 0,
            bound: f32::NEG_INFINITY,
        };
        if let Some(lists) = &self.lists {
            let l2 = self.metric == Metric::L2;
            lists
                .centroids
                .rank(self.level, query, dot_mean, l2, ranking);
            best_lists(self, ranking, probes, order);
            for (i, &(_, list)) in order.iter().enumerate() {
                if let Some(&(_, next)) = order.get(i + 1) {
                    prefetch(lists.lists[next as usize].head());
                }
                scanner.list(
                    &lists.lists[list as usize],
                    list,
                    ranking.bases[list as usize],
                );
            }
        }
        for (i, segment) in self.tail.iter().enumerate() {
            scanner.list(segment, TAIL | (self.tail_first + i as u32), dot_mean);
        }
        scratch.scanned = scanner.start as usize;
        let Survivors {
            estimates,
            slots,
            len,
        } = &mut scratch.survivors;
        (*len, _) = cut(
            self.level,
            &mut estimates[..*len],
            &mut slots[..*len],
            refine,
        );
    }

    fn refine(&self, dot_mean: f64, k: usize, scratch: &mut Scratch) {
        let Scratch {
            query,
            survivors,
            spans,
            seen,
            rows,
            rough,
            top,
            ..
        } = scratch;
        let slots = &survivors.slots[..survivors.len];
        let size = (2 * slots.len()).next_power_of_two().max(64);
        seen.clear();
        seen.resize(size, u32::MAX);
        rows.clear();
        for &slot in slots {
            let row = self.row_of(slot, spans);
            if is_new(row, seen) {
                prefetch(self.rows.rough_bytes(row));
                rows.push(row);
            }
        }
        let keep = (2 * k).max(16);
        if rows.len() > keep {
            rough.clear();
            rough.extend(rows.iter().map(|&row| self.rows.rough(query, row)));
            let (len, _) = cut(self.level, rough, rows, keep);
            rows.truncate(len);
        }
        for &row in rows.iter() {
            prefetch(self.rows.rest_bytes(row));
        }
        top.extend(rows.iter().map(|&row| {
            (
                self.rows.score(query, dot_mean, row),
                self.rows.keys[row as usize],
            )
        }));
        finish(top, k);
    }

    fn row_of(&self, slot: u32, spans: &[(u32, u32)]) -> u32 {
        let (start, place) = spans[spans.partition_point(|span| span.0 <= slot) - 1];
        let list = if place & TAIL != 0 {
            &self.tail[((place & !TAIL) - self.tail_first) as usize]
        } else {
            &self.lists.as_ref().expect("a list was scanned").lists[place as usize]
        };
        list.rows()[(slot - start) as usize]
    }

    fn score_all(
        &self,
        dot_mean: f64,
        k: usize,
        rows: impl Iterator<Item = u32>,
        scratch: &mut Scratch,
    ) {
        let Scratch { query, top, .. } = scratch;
        let mut least = f32::NEG_INFINITY;
        let room = 2 * k.min(self.rows.alive()) + 64;
        for row in rows {
            let score = self.rows.score(query, dot_mean, row);
            if score >= least {
                top.push((score, self.rows.keys[row as usize]));
                if top.len() >= room {
                    top.select_nth_unstable_by(k - 1, better);
                    top.truncate(k);
                    least = top[k - 1].0;
                }
            }
        }
        finish(top, k);
    }
}

/// Scans lists one after the other, with one threshold.
struct Scanner<'a> {
    state: &'a State,
    query: &'a Query,
    survivors: &'a mut Survivors,
    spans: &'a mut Vec<(u32, u32)>,
    refine: usize,
    start: u32,
    bound: f32,
}

impl Scanner<'_> {
    fn list(&mut self, list: &List, place: u32, base: f32) {
        if list.is_empty() {
            return;
        }
        let level = self.state.level;
        self.spans.push((self.start, place));
        let codes = list.with(self.query, self.start);
        let blocks = list.len().div_ceil(crate::kernels::BLOCK);
        let mut block = 0;
        while block < blocks {
            block = scan(level, &codes, base, self.bound, block, self.survivors);
            let found = &mut *self.survivors;
            if found.is_full() {
                let (estimates, slots) = (
                    &mut found.estimates[..found.len],
                    &mut found.slots[..found.len],
                );
                let (len, bound) = cut(level, estimates, slots, self.refine);
                found.len = len;
                self.bound = self.bound.max(bound);
            }
        }
        self.start += (blocks * crate::kernels::BLOCK) as u32;
    }
}

/// The lists to scan, best first.
fn best_lists(state: &State, ranking: &Ranking, probes: usize, order: &mut Vec<(f32, u32)>) {
    let values = &ranking.values;
    order.clear();
    let bound = if probes < values.len() {
        threshold(state.level, values, probes)
    } else {
        None
    };
    let bound = bound.unwrap_or(f32::NEG_INFINITY);
    order.extend(
        values
            .iter()
            .zip(0..)
            .filter(|(value, _)| **value > bound)
            .map(|(value, list)| (*value, list)),
    );
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.truncate(probes);
}

/// Whether a row is seen for the first time; `seen` is a table of twice as many places as rows, a power of two.
fn is_new(row: u32, seen: &mut [u32]) -> bool {
    let mask = seen.len() - 1;
    let mut place = (row.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
    while seen[place] != u32::MAX {
        if seen[place] == row {
            return false;
        }
        place = (place + 1) & mask;
    }
    seen[place] = row;
    true
}

/// Larger scores first, of equal ones the smaller key.
fn better(a: &(f32, u64), b: &(f32, u64)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Order the best k, drop the rest. Scores are compared as numbers: minus zero is zero.
fn finish(top: &mut Vec<(f32, u64)>, k: usize) {
    top.iter_mut().for_each(|hit| hit.0 += 0.0);
    top.sort_unstable_by(better);
    top.truncate(k);
}
