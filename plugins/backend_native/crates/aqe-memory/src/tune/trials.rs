//! Rows of the store as queries, and their true neighbours.

use super::{K, Setting};
use crate::Metric;
use crate::kernels::{PANEL, vectorized};
use crate::level::Level;
use crate::panels::Panels;
use crate::query::Query;
use crate::random::Random;
use crate::search::Scratch;
use crate::state::{Buffers, State};
use crate::store::Shared;

/// Rows whose scores are bounded together: a bit for each.
const SCORED: usize = 2 * PANEL;

/// Neighbours that are looked at to tell copies of a row from rows like it.
const AROUND: usize = 50;

/// Square of the share of the 50th neighbour's distance below which a neighbour counts as a copy. Where rows are
/// spread over 18 dimensions, as embeddings of code are, 3 of 50 are nearer than that.
const COPY: f32 = 0.85 * 0.85;

/// A row as a query.
///
/// A row has copies and variants of itself in the store; a query that is asked for the first time mostly has none.
/// So the row's copies do not count, and the neighbours wanted are the ten best after them.
#[derive(Clone)]
pub(super) struct Trial {
    pub vector: Vec<f32>,
    /// The row's key, then those of its copies.
    pub copies: Vec<u64>,
    /// The least score of the neighbours wanted.
    pub least: f32,
    /// How many of them were found, and with which settings.
    pub known: Vec<(Setting, usize)>,
}

impl Trial {
    /// How many neighbours a setting finds, if that is known. Where all were found, a setting that does a little more
    /// finds them, too, but for less than one in a thousand.
    pub fn hits(&self, setting: Setting) -> Option<usize> {
        let tells = |&&(known, hits): &&(Setting, usize)| {
            known == setting || hits == K && setting.covers(known)
        };
        self.known.iter().rev().find(tells).map(|known| known.1)
    }
}

/// What bounds the scores of some rows, by their upper bytes.
#[derive(Default)]
struct Outlines {
    bytes: Vec<i8>,
    scales: Vec<f64>,
    sums: Vec<i32>,
    lengths: Vec<f64>,
    half_squares: Vec<f64>,
}

impl Outlines {
    /// Take the outlines of some rows instead.
    fn outline(&mut self, state: &State, rows: &[u32], buffers: &mut Buffers) {
        self.bytes.clear();
        self.scales.clear();
        self.sums.clear();
        self.lengths.clear();
        self.half_squares.clear();
        for &row in rows {
            let Buffers {
                integers, bytes, ..
            } = &mut *buffers;
            let scale = 4.0 * f64::from(state.rows.bytes_of(row, integers, bytes));
            let start = self.bytes.len();
            self.bytes
                .extend(bytes.iter().map(|&byte| (byte ^ 128) as i8));
            let bytes = &self.bytes[start..];
            let (sum, squares) = vectorized(
                state.level,
                #[inline(always)]
                || {
                    let numbers = bytes.iter().map(|&byte| i32::from(byte));
                    numbers.fold((0, 0), |(sum, squares), x| (sum + x, squares + x * x))
                },
            );
            self.scales.push(scale);
            self.sums.push(sum);
            self.lengths.push(scale * f64::from(squares).sqrt());
            self.half_squares
                .push(f64::from(state.rows.half_square(row)));
        }
    }

    /// A bit for each row whose dot product with a query, less half its square under l2, may exceed `bound`.
    fn above(
        &self,
        level: Level,
        query: &Query,
        dot_mean: f64,
        products: &[i32],
        bound: f64,
    ) -> u64 {
        let n = self.scales.len();
        let (scales, sums, products) = (&self.scales[..n], &self.sums[..n], &products[..n]);
        let (lengths, half_squares) = (&self.lengths[..n], &self.half_squares[..n]);
        let unit = 256.0 * f64::from(query.unit);
        let length = query.square.sqrt();
        let less = 0.375 * f64::from(query.unit) * query.sum as f64;
        vectorized(
            level,
            #[inline(always)]
            || {
                let mut above = 0;
                for i in 0..n {
                    let dot = unit * scales[i] * f64::from(products[i] - 128 * sums[i]);
                    // Each dimension is up to a step off: on both sides, six standard deviations of what that adds up
                    // to, and what the bytes of the row are less than the row on the average.
                    let off = 1.8 * (unit * lengths[i] + scales[i] * length);
                    let most = dot_mean + dot + less * scales[i] + off - half_squares[i];
                    above |= u64::from(most > bound) << i;
                }
                above
            },
        )
    }
}

impl Query {
    /// What `Outlines::above` compares, for a score.
    fn value_of(&self, score: f32, state: &State) -> f64 {
        match state.metric {
            Metric::L2 => 0.5 * (f64::from(score) + self.square),
            _ => f64::from(score),
        }
    }
}

impl Shared {
    /// Some rows as queries, as many times as many as settings are chosen by as there are parts.
    pub(super) fn trials(&self, parts: usize) -> Vec<Trial> {
        let state = self.read();
        let rows: Vec<u32> = state.rows.living().collect();
        let count = parts * (51_200_000 / rows.len().max(1)).clamp(512, 768);
        let chosen = Random::new(self.options.seed ^ 0x7e57).sample(rows.clone(), count);
        let width = state.rows.width;
        let mut integers = vec![0; width];
        let mut scratches = Vec::new();
        let mut trials = Vec::new();
        for &row in &chosen {
            let mut vector = vec![0.0; width];
            state.rows.floats(row, &mut integers, &mut vector);
            vector.truncate(state.dim);
            let mut scratch = Scratch::default();
            if vector.iter().any(|&x| x != 0.0) {
                scratches.push((state.prepare(&vector, &mut scratch), scratch));
                trials.push(Trial {
                    vector,
                    copies: vec![state.rows.keys[row as usize]],
                    least: f32::NEG_INFINITY,
                    known: Vec::new(),
                });
            }
        }
        drop(state);
        let share = trials.len().div_ceil(self.options.threads).max(1);
        std::thread::scope(|scope| {
            for (trials, scratches) in trials.chunks_mut(share).zip(scratches.chunks(share)) {
                let rows = &rows;
                scope.spawn(move || self.measure(rows, trials, scratches));
            }
        });
        trials
    }

    /// Find the neighbours of each trial, its copies among them.
    fn measure(&self, rows: &[u32], trials: &mut [Trial], scratches: &[(f64, Scratch)]) {
        let mut around = vec![Around::new(); trials.len()];
        let queries: Vec<u8> = scratches
            .iter()
            .flat_map(|(_, scratch)| scratch.query.unsigned.iter().copied())
            .collect();
        let mut buffers = None;
        let (mut outlines, mut products) = (Outlines::default(), vec![0; trials.len() * SCORED]);
        for batch in rows.chunks(SCORED) {
            let state = self.read();
            let there =
                |&&row: &&u32| (row as usize) < state.rows.numbers() && state.rows.is_alive(row);
            let batch: Vec<u32> = batch.iter().filter(there).copied().collect();
            if batch.is_empty() {
                continue; // all have left since
            }
            let width = state.rows.width;
            let buffers = buffers.get_or_insert_with(|| Buffers::new(width));
            outlines.outline(&state, &batch, buffers);
            let panels = Panels::new(self.options.level, &outlines.bytes, width);
            panels.products(&queries, &mut products);
            for (number, ((trial, (dot_mean, scratch)), around)) in
                trials.iter().zip(scratches).zip(&mut around).enumerate()
            {
                let bound = scratch.query.value_of(around.best[AROUND - 1].0, &state);
                let products = &products[number * panels.stride()..];
                let (level, query) = (self.options.level, &scratch.query);
                let mut above = outlines.above(level, query, *dot_mean, products, bound);
                while above != 0 {
                    let row = batch[above.trailing_zeros() as usize];
                    above &= above - 1;
                    let score = state.score_of(*dot_mean, row, scratch);
                    let key = state.rows.keys[row as usize];
                    if key == trial.copies[0] {
                        around.own = score;
                    } else {
                        around.push(score, key);
                    }
                }
            }
        }
        for (trial, around) in trials.iter_mut().zip(around) {
            // Under the dot product a longer row is nearer than the row itself: no measure of likeness.
            let copies = if self.options.metric == Metric::Dot {
                0
            } else {
                around.copies()
            };
            trial
                .copies
                .extend(around.best[..copies].iter().map(|near| near.1));
            trial.least = around.best[copies + K - 1].0;
        }
    }
}

/// The best other rows of a trial, best first.
#[derive(Clone)]
struct Around {
    own: f32,
    best: [(f32, u64); AROUND],
}

impl Around {
    fn new() -> Around {
        Around {
            own: f32::NEG_INFINITY,
            best: [(f32::NEG_INFINITY, u64::MAX); AROUND],
        }
    }

    fn push(&mut self, score: f32, key: u64) {
        if score <= self.best[AROUND - 1].0 {
            return;
        }
        let mut place = AROUND - 1;
        while place > 0 && score > self.best[place - 1].0 {
            self.best[place] = self.best[place - 1];
            place -= 1;
        }
        self.best[place] = (score, key);
    }

    /// How many of them are copies, where the score falls from the row's own with the squared distance.
    fn copies(&self) -> usize {
        let near = COPY * (self.own - self.best[AROUND - 1].0);
        self.best[..AROUND - K]
            .iter()
            .take_while(|other| self.own - other.0 < near)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Effort;
    use crate::{Index, Keep, Options, Store};

    fn around(own: f32, scores: impl IntoIterator<Item = f32>) -> Around {
        let mut around = Around::new();
        around.own = own;
        for (score, key) in scores.into_iter().zip(0..) {
            around.push(score, key);
        }
        around
    }

    #[test]
    fn copies_are_what_is_much_nearer_than_the_others() {
        let far = (0..60).map(|i| 0.4 - 0.001 * i as f32);
        let mixed = around(1.0, far.clone().chain([0.95, 0.9, 0.97]));
        assert_eq!(mixed.copies(), 3);
        assert_eq!(mixed.best[0], (0.97, 62));
        assert_eq!(around(1.0, far).copies(), 0);
    }

    #[test]
    fn ten_neighbours_are_left_whatever_the_scores() {
        for own in [f32::NEG_INFINITY, 0.0, 1.0] {
            for scores in [vec![1.0; 60], vec![0.0; 3], vec![]] {
                assert!(around(own, scores).copies() <= AROUND - K);
            }
        }
        let cluster = [0.999; 49].into_iter().chain([0.1; 20]);
        assert_eq!(around(1.0, cluster).copies(), AROUND - K);
    }

    #[test]
    fn a_setting_finds_all_that_one_that_does_less_found() {
        let trial = |known: &[(Setting, usize)]| Trial {
            vector: Vec::new(),
            copies: Vec::new(),
            least: 0.0,
            known: known.to_vec(),
        };
        let stops = |margin| Setting {
            margin,
            ..Setting::whole(8, 50)
        };
        let all = trial(&[(stops(0.1), K)]);
        for covering in [stops(0.1), stops(0.2), Setting::whole(8, 50)] {
            assert_eq!(all.hits(covering), Some(K));
        }
        for other in [stops(0.05), Setting::whole(7, 50), Setting::whole(9, 40)] {
            assert_eq!(all.hits(other), None);
        }
        assert_eq!(all.hits(Setting::whole(10, 50)), Some(K));
        assert_eq!(all.hits(Setting::whole(11, 50)), None); // too many more lists
        let some = trial(&[(stops(0.1), K - 1)]);
        assert_eq!(some.hits(stops(0.1)), Some(K - 1));
        assert_eq!(some.hits(stops(0.2)), None);
        assert_eq!(trial(&[]).hits(stops(0.1)), None);
    }

    fn flat(dim: usize, metric: Metric, level: Level) -> Store {
        Store::new(Options {
            dim,
            metric,
            index: Index::Flat,
            keep: Keep::Planes,
            recall: 0.9,
            seed: 1,
            threads: 2,
            background: false,
            level,
        })
    }

    #[test]
    fn rows_that_leave_meanwhile_are_looked_for_no_more() {
        const DIM: usize = 16;
        let mut random = Random::new(8);
        let rows: Vec<f32> = (0..400 * DIM)
            .map(|_| random.below(1000) as f32 / 500.0 - 1.0)
            .collect();
        let store = flat(DIM, Metric::Cosine, Level::best());
        store.add(&(0..400).collect::<Vec<u64>>(), &rows);
        let all: Vec<u32> = store.shared.read().rows.living().collect();
        let mut scratch = Scratch::default();
        let mut trials = [Trial {
            vector: rows[399 * DIM..].to_vec(),
            copies: vec![399],
            least: 0.0,
            known: Vec::new(),
        }];
        let prepared = store.shared.read().prepare(&trials[0].vector, &mut scratch);
        let scratches = [(prepared, scratch)];
        // Whole batches of rows, and parts of others.
        store.remove(&(100..310).collect::<Vec<u64>>());
        store.shared.measure(&all, &mut trials, &scratches);
        let mut scratch = Scratch::default();
        let shared = &store.shared;
        shared.try_search(&trials[0].vector, 400, Effort::Exact, &mut scratch);
        let trial = &trials[0];
        let mut others = scratch
            .top
            .iter()
            .filter(|hit| !trial.copies.contains(&hit.1));
        assert_eq!(others.nth(K - 1).map(|hit| hit.0), Some(trial.least));
        // Of no rows nothing is known.
        store.remove(&(0..400).collect::<Vec<u64>>());
        store.shared.measure(&all, &mut trials, &scratches);
        assert_eq!(trials[0].least, f32::NEG_INFINITY);
    }

    #[test]
    fn trials_look_for_what_scoring_every_row_finds() {
        const DIM: usize = 160;
        const ROWS: usize = 1500;
        let mut random = Random::new(3);
        let mut value = || random.below(1000) as f32 / 500.0 - 1.0;
        let rows: Vec<f32> = (0..ROWS * DIM)
            .map(|i| value() + if i / DIM % 20 == i % DIM { 2.0 } else { 0.0 })
            .collect();
        for (metric, level) in [Metric::Cosine, Metric::Dot, Metric::L2]
            .into_iter()
            .flat_map(|metric| {
                Level::supported()
                    .into_iter()
                    .map(move |level| (metric, level))
            })
        {
            let store = flat(DIM, metric, level);
            store.add(&(0..ROWS as u64).collect::<Vec<u64>>(), &rows);
            let mut scratch = Scratch::default();
            for trial in store.shared.trials(1) {
                let shared = &store.shared;
                shared.try_search(&trial.vector, ROWS, Effort::Exact, &mut scratch);
                let mut others = scratch
                    .top
                    .iter()
                    .filter(|hit| !trial.copies.contains(&hit.1));
                assert_eq!(others.nth(K - 1).map(|hit| hit.0), Some(trial.least));
            }
        }
    }
}
