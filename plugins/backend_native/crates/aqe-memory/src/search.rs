//! One search: choose lists, scan codes, refine by planes.

use crate::Metric;
use crate::centroids::{Near, Ranking};
use crate::hnsw::Beam;
use crate::kernels::{Codes, dot, vectorized};
use crate::level::Level;
use crate::list::{List, NO_ROW};
use crate::query::Query;
use crate::scanner::Scanner;
use crate::select::{FEW, cut, distinct, order};
use crate::state::{State, Tuning, normalize};

/// So many rows ahead are fetched from memory.
const AHEAD: usize = 8;

/// So many where something else is computed first.
const FAR_AHEAD: usize = 24;

/// Lists that are scanned before any is left out. Whether to go on is decided again whenever as many more were.
const FIRST: usize = 4;

/// A comparison in the graph takes as long as so many slots.
const COMPARED: usize = 25;

/// Scratch of a thread.
#[derive(Default)]
pub struct Scratch {
    pub(crate) query: Query,
    ranking: Ranking,
    scanner: Scanner,
    pub(crate) beam: Beam,
    seen: Vec<u32>,
    rows: Vec<u32>,
    rough: Vec<f32>,
    /// Scores and keys, best first.
    pub top: Vec<(f32, u64)>,
    /// Keys of rows that do not count where a search decides whether to stop early; for measuring.
    pub copies: Vec<u64>,
    /// Slots scanned by the last search.
    pub scanned: usize,
}

/// How much work a search does.
#[derive(Clone, Copy, Debug)]
pub enum Effort {
    /// Score every row.
    Exact,
    /// Scan some lists and refine so many rows.
    Probe {
        /// Lists at most.
        probes: usize,
        /// Lists whose centre is worse by more than this than the estimate of `rank` are left out; see [`Tuning`].
        margin: f32,
        /// See `margin`.
        rank: usize,
        /// Rows.
        refine: usize,
    },
}

impl State {
    /// What a search for k rows does, by the tuning or with so many rows refined.
    pub fn effort(&self, k: usize, ef: Option<usize>, exact: bool) -> Effort {
        let Tuning {
            probes,
            margin,
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
            margin: if ef.is_some() { f32::INFINITY } else { margin },
            rank: k.max(10),
            refine: wanted,
        }
    }

    /// Find the k best rows; they are in `scratch.top` then.
    pub fn search(&self, vector: &[f32], k: usize, effort: Effort, scratch: &mut Scratch) {
        let dot_mean = self.place(vector, scratch);
        scratch.query.prepare_scores(self.level, self.is_unit());
        scratch.top.clear();
        scratch.scanned = 0;
        if let Effort::Probe { refine, .. } = effort {
            scratch.query.prepare_scans(self.level);
            self.scan_codes(dot_mean as f32, effort, scratch);
            self.refine(dot_mean, k, refine, scratch);
            if scratch.top.len() >= k.min(self.rows.alive()) {
                return;
            }
            scratch.top.clear();
        }
        self.score_all(dot_mean, k, self.rows.living(), scratch);
    }

    /// Find the k best of some rows.
    pub fn search_among(&self, vector: &[f32], k: usize, rows: &[u32], scratch: &mut Scratch) {
        let dot_mean = self.place(vector, scratch);
        scratch.query.prepare_scores(self.level, self.is_unit());
        scratch.top.clear();
        let fetch = |at: usize| {
            if let Some(&row) = rows.get(at) {
                self.rows.prefetch_rough(row);
                self.rows.prefetch_rest(row);
            }
        };
        (0..AHEAD).for_each(fetch);
        let rows = rows.iter().enumerate().map(|(at, &row)| {
            fetch(at + AHEAD);
            row
        });
        self.score_all(dot_mean, k, rows, scratch);
    }

    /// The rows of keys, in their order; `NO_ROW` for none. Looked up only where a row is not the one that is guessed.
    pub fn rows_of(&self, keys: &[u64], guesses: &[u32]) -> Vec<u32> {
        guesses.iter().for_each(|&row| self.rows.prefetch_key(row));
        let mut rows = guesses.to_vec();
        for (row, &key) in rows.iter_mut().zip(keys) {
            if !self.rows.is_row_of(*row, key) {
                *row = NO_ROW;
                self.rows.map.prefetch(key);
            }
        }
        for (row, &key) in rows.iter_mut().zip(keys) {
            if *row == NO_ROW {
                *row = self.rows.map.get(key, &self.rows.keys).unwrap_or(NO_ROW);
            }
        }
        rows
    }

    fn fetch(&self, rows: &[u32], at: usize) {
        if let Some(&row) = rows.get(at).filter(|&&row| row != NO_ROW) {
            self.rows.prefetch_rough(row);
            self.rows.prefetch_rest(row);
        }
    }

    /// Ask for as many rows as `scores` does ahead.
    pub fn fetch_first(&self, rows: &[u32]) {
        (0..FAR_AHEAD).for_each(|at| self.fetch(rows, at));
    }

    /// Score rows, in their order; NaN for `NO_ROW`.
    pub fn scores(&self, vector: &[f32], rows: &[u32], scratch: &mut Scratch) -> Vec<f32> {
        let dot_mean = self.place(vector, scratch);
        scratch.query.prepare_scores(self.level, self.is_unit());
        let score = |(at, &row): (usize, &u32)| {
            self.fetch(rows, at + FAR_AHEAD);
            if row == NO_ROW {
                f32::NAN
            } else {
                self.score_of(dot_mean, row, scratch) + 0.0 // minus zero is zero
            }
        };
        rows.iter().enumerate().map(score).collect()
    }

    /// Prepare the query; return its dot product with the mean.
    pub(crate) fn prepare(&self, vector: &[f32], scratch: &mut Scratch) -> f64 {
        let dot_mean = self.place(vector, scratch);
        scratch.query.prepare(self.level, self.is_unit());
        dot_mean
    }

    /// Whether vectors are compared at unit length.
    fn is_unit(&self) -> bool {
        self.metric == Metric::Cosine
    }

    /// Take the query as it is compared; return its dot product with the mean.
    fn place(&self, vector: &[f32], scratch: &mut Scratch) -> f64 {
        let query = &mut scratch.query;
        query.floats.resize(self.rows.width, 0.0);
        vectorized(
            self.level,
            #[inline(always)]
            || normalize(self.level, vector, self.metric, &mut query.floats),
        );
        let mean = &self.rows.mean;
        let fast = dot(self.level, &query.floats, mean);
        if fast.is_finite() {
            return f64::from(fast);
        }
        let pairs = query.floats.iter().zip(mean);
        pairs.map(|(&q, &m)| f64::from(q) * f64::from(m)).sum()
    }

    /// The score of a row for the query that was prepared.
    pub(crate) fn score_of(&self, dot_mean: f64, row: u32, scratch: &Scratch) -> f32 {
        self.rows.score(&scratch.query, dot_mean, row)
    }

    fn scan_codes(&self, dot_mean: f32, effort: Effort, scratch: &mut Scratch) {
        let Effort::Probe {
            probes,
            margin,
            rank,
            refine,
        } = effort
        else {
            return;
        };
        let Scratch {
            query,
            ranking,
            scanner,
            copies,
            beam,
            ..
        } = scratch;
        let lookup = query.lookup();
        scanner.start(self.level, refine);
        beam.start();
        if let Some(graph) = &self.graph {
            // Rows that left take places of those that are there.
            let width = refine + refine * self.parked.len() / self.rows.alive().max(1);
            let near = |row: u32| self.rows.rough(query, row);
            let fetch = |row: u32| self.rows.prefetch_rough(row);
            beam.descend(graph, 0, &fetch, &near);
            beam.walk(graph, 0, width, &fetch, &near);
        }
        let empty = self.tail.front().map_or(Codes::default(), List::codes);
        if let Some(lists) = &self.lists {
            let centroids = &lists.centroids;
            let (mut least, mut check, mut done) = (f32::NEG_INFINITY, FIRST, 0);
            let mut order = centroids.nearest(self.level, query, dot_mean, probes, ranking);
            'lists: while !order.is_empty() {
                let codes = |hit: &Near| lists.lists[hit.list as usize].codes();
                for (i, hit) in order.iter().enumerate() {
                    if hit.value < least {
                        break 'lists;
                    }
                    let next = order.get(i + 1).map_or(empty, codes);
                    scanner.scan([&codes(hit), &next], &lookup, hit.dot);
                    done += 1;
                    if done == check && done < probes && margin < f32::INFINITY {
                        let copies = self.count_of(copies, scanner.found());
                        let best = scanner.estimate_of(rank + copies);
                        least = best - margin * self.spread(query, best);
                        check *= 2;
                    }
                }
                order = centroids.farther(self.level, query, dot_mean, least, ranking);
            }
        }
        for (i, segment) in self.tail.iter().enumerate() {
            let next = self.tail.get(i + 1).map_or(empty, List::codes);
            scanner.scan([&segment.codes(), &next], &lookup, dot_mean);
        }
        scratch.scanned = scanner.scanned + COMPARED * beam.compared;
        scanner.finish();
    }

    /// How many of the rows have one of the keys.
    fn count_of(&self, keys: &[u64], rows: &[u32]) -> usize {
        if keys.is_empty() {
            return 0;
        }
        let is_one = |&&row: &&u32| keys.contains(&self.rows.keys[row as usize]);
        rows.iter().filter(is_one).count()
    }

    /// What estimates of the rows of a list differ in proportion to: the length of the query, under l2 the distance
    /// between the query and a row with this estimate.
    fn spread(&self, query: &Query, estimate: f32) -> f32 {
        match self.metric {
            Metric::Cosine => 1.0,
            Metric::Dot => query.square.sqrt() as f32,
            Metric::L2 => (query.square as f32 - 2.0 * estimate).max(0.0).sqrt(),
        }
    }

    fn refine(&self, dot_mean: f64, k: usize, refine: usize, scratch: &mut Scratch) {
        let Scratch {
            query,
            scanner,
            beam,
            seen,
            rows,
            rough,
            top,
            ..
        } = scratch;
        let found = scanner.found();
        rows.clear();
        rough.clear();
        for (near, row) in beam.found() {
            if self.rows.is_alive(row) {
                rows.push(row);
                rough.push(near);
            }
        }
        let start = rows.len();
        rows.extend_from_slice(found);
        if self.lists.is_some() {
            distinct(self.level, rows, seen); // a row may stand in two lists
        }
        for &row in &rows[start..] {
            self.rows.prefetch_rough(row);
        }
        let most = (2 * k).max(16);
        // Of lists more: 12 of 50 instead of 15 cost as much recall as 10 rows more make up for.
        let few = self.lists.is_none() && refine <= 4 * k;
        let least = if few { 5 * k / 4 } else { 3 * k / 2 };
        let keep = if self.graph.is_some() || self.metric == Metric::Dot {
            most
        } else {
            (refine / 4).clamp(least.max(12), most)
        };
        if rows.len() > keep {
            self.rows.roughs(query, &rows[rough.len()..], rough);
            let (len, _) = cut(self.level, rough, rows, keep);
            rows.truncate(len);
        }
        for &row in rows.iter() {
            self.rows.prefetch_rest(row);
        }
        top.extend(rows.iter().map(|&row| {
            (
                self.rows.score(query, dot_mean, row),
                self.rows.keys[row as usize],
            )
        }));
        finish(self.level, top, k);
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
        finish(self.level, top, k);
    }
}

/// Larger scores first, of equal ones the smaller key.
fn better(a: &(f32, u64), b: &(f32, u64)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Order the best k, drop the rest. Scores are compared as numbers: minus zero is zero.
fn finish(level: Level, top: &mut Vec<(f32, u64)>, k: usize) {
    top.iter_mut().for_each(|hit| hit.0 += 0.0);
    let n = top.len();
    if n > FEW {
        top.sort_unstable_by(better);
        return top.truncate(k);
    }
    let (mut scores, mut hits) = ([0f32; FEW], [(0f32, 0u64); FEW]);
    for (score, hit) in scores.iter_mut().zip(&*top) {
        *score = hit.0;
    }
    let numbers = order(level, &scores[..n]);
    for (hit, &number) in hits.iter_mut().zip(&numbers[..n]) {
        *hit = top[number as usize];
    }
    if hits[..n].windows(2).any(|pair| pair[0].0 == pair[1].0) {
        hits[..n].sort_unstable_by(better);
    }
    top.clear();
    top.extend_from_slice(&hits[..n.min(k)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::{Index, Keep, Options, Store};

    const DIM: usize = 64;

    fn random_rows(random: &mut Random, n: usize) -> Vec<f32> {
        (0..n * DIM)
            .map(|i| {
                random.below(1000) as f32 / 500.0 - 1.0
                    + (i / DIM % 20 == i % DIM) as u8 as f32 * 6.0
            })
            .collect()
    }

    fn store(metric: Metric) -> (Store, Vec<f32>) {
        let store = Store::new(Options {
            dim: DIM,
            metric,
            index: Index::Lists,
            keep: Keep::Planes,
            recall: 0.7,
            seed: 1,
            threads: 1,
            background: false,
            level: Level::best(),
        });
        let rows = random_rows(&mut Random::new(7), 3000);
        store.add(&(0..3000).collect::<Vec<u64>>(), &rows);
        (store, rows)
    }

    fn scanned(store: &Store, query: &[f32], margin: f32, copies: &[u64]) -> usize {
        let effort = Effort::Probe {
            probes: 40,
            margin,
            rank: 10,
            refine: 60,
        };
        let mut scratch = Scratch::default();
        scratch.copies.extend_from_slice(copies);
        store.shared.try_search(query, 10, effort, &mut scratch);
        scratch.scanned
    }

    #[test]
    fn the_larger_the_margin_the_more_is_scanned() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let (store, rows) = store(metric);
            assert!(store.shared.read().lists.is_some());
            for query in rows.chunks_exact(DIM).take(20) {
                let counts = [-1e9, 0.0, 0.1, 0.3, 1e9, f32::INFINITY]
                    .map(|margin| scanned(&store, query, margin, &[]));
                assert!(counts.is_sorted(), "{metric:?} {counts:?}");
                assert!(counts[0] < counts[5] / 2, "{metric:?} {counts:?}");
                assert_eq!(counts[4], counts[5], "{metric:?}");
            }
        }
    }

    #[test]
    fn equal_scores_are_ordered_by_key() {
        let hits = |n: u64| (0..n).map(|i| ((i * 7 % 5) as f32, i * 11 % n)).collect();
        for (n, k) in [(1, 1), (20, 10), (64, 64), (65, 10), (300, 20)] {
            let mut top: Vec<(f32, u64)> = hits(n);
            (top[0].0, top[n as usize / 2].0) = (-0.0, 0.0);
            let mut wanted = top.clone();
            wanted.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
            wanted.truncate(k);
            for level in Level::supported() {
                let mut top = top.clone();
                finish(level, &mut top, k);
                assert_eq!(top, wanted);
                assert!(top.iter().all(|hit| hit.0.is_sign_positive()));
            }
        }
    }

    #[test]
    fn where_a_search_stops_does_not_depend_on_the_length_of_the_query() {
        for metric in [Metric::Cosine, Metric::Dot] {
            let (store, rows) = store(metric);
            let (mut short, mut long) = (0, 0);
            for query in rows.chunks_exact(DIM).take(20) {
                let [one, more, most] = [0, 24, 34].map(|power| {
                    let longer: Vec<f32> = query.iter().map(|x| 2f32.powi(power) * x).collect();
                    scanned(&store, &longer, 0.2, &[])
                });
                assert_eq!(more, most, "{metric:?}");
                if metric == Metric::Cosine {
                    assert_eq!(one, more);
                }
                (short, long) = (short + one, long + more);
            }
            // Under the dot product the offset of a code does not grow with the query: it tells beside a short one, and
            // a list more or less may be scanned.
            assert!(
                short.abs_diff(long) <= long / 50,
                "{metric:?} {short} {long}"
            );
        }
    }

    #[test]
    fn copies_do_not_stop_a_search() {
        let (store, rows) = store(Metric::Cosine);
        for (i, query) in rows.chunks_exact(DIM).take(20).enumerate() {
            // All rows around the same centre.
            let copies: Vec<u64> = (i as u64..3000).step_by(20).collect();
            let with = scanned(&store, query, 0.1, &[]);
            let without = scanned(&store, query, 0.1, &copies);
            assert!(without > with, "{with} {without}");
        }
    }
}
