//! Test ranking: a pairwise logistic regression over few features of each test's history.
//!
//! The rules are those of `aqe_backend_numpy.ranker`; sums are added in another order. Tests are numbers here: the
//! caller names them, and gives candidates in the canonical order of known ones by number, then the others.

pub mod features;
pub mod memory;
mod order;
mod weights;

pub use features::{START, Shares};
pub use memory::{COLUMNS, FRESH, Row};
pub use order::{ordered, probabilities};
pub use weights::{Differences, Memory, PAIRS, WINDOW, pairs};

use features::{CORE, UNWATCHED, features, standardize};
use memory::{DURATION, FAILURES, Logs, RUNS, SINCE, UNSEEN};

/// (failures, runs) before the first cycle: as if a tenth of 5 runs and 0.3 of 2 first runs had failed.
const TALLIES: [[f64; 2]; 4] = [[0.5, 5.0], [0.6, 2.0], [0.0, 0.0], [0.0, 0.0]];

/// Candidates of a cycle with what is known of each, in canonical order.
pub struct Look {
    rows: Vec<Row>,
    duration_s: Vec<f64>,
    values: Vec<f64>, // feature by feature
}

/// Everything that was learned.
#[derive(Clone, Debug)]
pub struct Ranker {
    /// Of each test.
    pub rows: Vec<Row>,
    /// (failures, runs): of all runs, of first runs, of runs after a failed one and after a passed one.
    pub tallies: [[f64; 2]; 4],
    /// Of the features, then of the context.
    pub weights: Vec<f64>,
    /// What they are learned from.
    pub memory: Memory,
    /// Cycles observed.
    pub cycles: u64,
}

impl Default for Ranker {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            tallies: TALLIES,
            weights: START.to_vec(),
            memory: Memory::new(CORE),
            cycles: 0,
        }
    }
}

impl Look {
    /// The share of each candidate and feature in the score, `of(feature, candidate, value)`.
    pub fn each(&self, mut of: impl FnMut(usize, usize, f64)) {
        for (feature, row) in self.values.chunks_exact(self.rows.len().max(1)).enumerate() {
            for (i, &value) in row.iter().enumerate() {
                of(feature, i, value);
            }
        }
    }

    /// Expected durations.
    pub fn duration_s(&self) -> &[f64] {
        &self.duration_s
    }
}

impl Ranker {
    /// Look at candidates: their slots (-1: none), durations (NaN: not given), and columns of context that are known,
    /// each with the number of its feature. O(n).
    pub fn look(&self, slots: &[i64], duration_s: &[f64], context: Vec<(usize, Vec<f64>)>) -> Look {
        let row = |&slot: &i64| usize::try_from(slot).map_or(FRESH, |slot| self.rows[slot]);
        let rows: Vec<Row> = slots.iter().map(row).collect();
        let duration_s = expected(duration_s, &rows);
        let n = rows.len();
        let mut values = features(
            &rows,
            &duration_s,
            &Shares::of(&self.tallies),
            &Logs::default(),
        );
        values.resize(self.weights.len() * n, 0.0);
        for (feature, mut column) in context {
            for value in &mut column {
                *value = value.abs().ln_1p().copysign(*value);
            }
            standardize(&mut column);
            values[feature * n..][..n].copy_from_slice(&column);
        }
        Look {
            rows,
            duration_s,
            values,
        }
    }

    /// The log-odds of failing but for a constant, with what the caller knows already, and about the chances. O(n).
    pub fn scores(&self, look: &Look, offset: Vec<f64>) -> (Vec<f64>, Vec<f64>) {
        let mut scores = offset;
        for (&weight, row) in self
            .weights
            .iter()
            .zip(look.values.chunks_exact(scores.len().max(1)))
        {
            for (score, value) in scores.iter_mut().zip(row) {
                *score += weight * value;
            }
        }
        let chance = probabilities(&scores, Shares::of(&self.tallies).failed);
        (scores, chance)
    }

    /// Make room for another column of context.
    pub fn meet(&mut self) {
        self.weights.push(0.0);
        self.memory.grow();
    }

    /// Learn from a cycle: what was looked at, with the slots that all candidates have by now.
    ///
    /// O(n) plus, in a failing cycle, two Newton steps over the pairs of the window.
    pub fn observe(&mut self, look: Look, slots: &[i64], runs: &[Run], strength: f64, seed: u64) {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let failed: Vec<bool> = runs.iter().map(|run| run.failed && run.ran).collect();
        if failed.contains(&true) && failed.contains(&false) {
            let salt = seed.wrapping_mul(GOLDEN).wrapping_add(self.cycles);
            self.learn(&look, &pairs(&failed, slots, salt), strength);
        }
        let ran = runs.iter().filter(|run| run.ran).count();
        let share = failed.iter().filter(|&&failed| failed).count() as f64 / ran as f64;
        let last = slots.iter().max().map_or(0, |&slot| slot as usize + 1);
        self.rows.resize(self.rows.len().max(last), FRESH);
        let logs = Logs::default();
        for ((&slot, mut row), run) in slots.iter().zip(look.rows).zip(runs) {
            if run.ran {
                self.count(&row, run.failed);
                logs.after_run(&mut row, run.failed, share, run.duration_s);
            } else {
                row[UNSEEN] += 1.0;
            }
            self.rows[slot as usize] = row;
        }
        self.cycles += 1;
    }

    /// Compare failed tests with all others, also those that were not run: what did run was chosen because it looked
    /// likely to fail.
    fn learn(&mut self, look: &Look, pairs: &[(usize, usize)], strength: f64) {
        let n = look.rows.len();
        let of = |feature: usize, pair: usize| {
            let row = &look.values[feature * n..][..n];
            row[pairs[pair].0] - row[pairs[pair].1]
        };
        let differences = Differences::new(self.weights.len(), pairs.len(), of);
        self.memory.remember(differences, &self.weights);
        self.memory.fit(&mut self.weights, &START, strength);
        self.weights[UNWATCHED] = START[UNWATCHED];
    }

    /// Add a run to the tallies, by what was known before.
    fn count(&mut self, before: &Row, failed: bool) {
        let group = match (before[RUNS] > 0.0, before[SINCE] > 0.0) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        };
        for tally in [0, group] {
            self.tallies[tally][0] += f64::from(failed);
            self.tallies[tally][1] += 1.0;
        }
    }

    /// Runs, failures, runs since the last failure (-1: never failed) and mean duration of a test.
    pub fn history(&self, slot: i64) -> (i64, i64, i64, f64) {
        let row = usize::try_from(slot).map_or(&FRESH, |slot| &self.rows[slot]);
        let failures = row[FAILURES] as i64;
        let since = if failures > 0 { row[SINCE] as i64 } else { -1 };
        (row[RUNS] as i64, failures, since, row[DURATION])
    }
}

/// What came of a candidate.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// It was run.
    pub ran: bool,
    /// It failed; nothing if it was not run.
    pub failed: bool,
    /// How long it ran; NaN if unknown.
    pub duration_s: f64,
}

/// Durations as given, else as remembered, else the median of those that are known, else 1 s.
fn expected(given: &[f64], rows: &[Row]) -> Vec<f64> {
    let known = |(&given, row): (&f64, &Row)| if given.is_nan() { row[DURATION] } else { given };
    let mut duration: Vec<f64> = given.iter().zip(rows).map(known).collect();
    if duration.iter().any(|seconds| seconds.is_nan()) {
        let mut sorted: Vec<f64> = duration.iter().copied().filter(|s| !s.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = match sorted.len() {
            0 => 1.0,
            n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
        };
        duration
            .iter_mut()
            .filter(|s| s.is_nan())
            .for_each(|s| *s = median);
    }
    duration
}
