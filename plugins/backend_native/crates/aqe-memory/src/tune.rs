//! The store measures its own recall, and chooses how much a search does.

use crate::random::Random;
use crate::search::{Effort, Scratch};
use crate::state::Tuning;
use crate::store::Shared;

/// Recall is measured at this k.
const K: usize = 10;

const REFINE: [usize; 14] = [
    30, 40, 50, 60, 80, 100, 140, 200, 300, 450, 700, 1000, 1500, 2200,
];

/// A row as a query, and the least score among its ten best other rows.
struct Trial {
    key: u64,
    vector: Vec<f32>,
    least: f32,
}

impl Shared {
    /// Measure recall on the store's own rows, and set the tuning. False if lists are no better than one list of all.
    pub(crate) fn tune(&self) -> bool {
        let trials = self.trials();
        let (n, lists) = {
            let state = self.read();
            (
                state.rows.alive(),
                state.lists.as_ref().map_or(0, |lists| lists.lists.len()),
            )
        };
        // Rows find their like a little more easily than new queries do.
        let goal = self.options.recall + 0.15 * (1.0 - self.options.recall);
        let found = if lists > 1 {
            self.tune_lists(&trials, goal, lists, n)
        } else {
            self.tune_flat(&trials, goal, n)
        };
        let mut state = self.write();
        let helped = found.is_some();
        let (probes, refine, recall) = found.unwrap_or((lists.max(1), n, 1.0));
        state.tuning = Tuning {
            probes,
            refine,
            recall,
            measured_on: n.max(1),
        };
        helped || lists <= 1
    }

    fn trials(&self) -> Vec<Trial> {
        let state = self.read();
        let rows: Vec<u32> = state.rows.living().collect();
        let count = (25_600_000 / rows.len().max(1)).clamp(64, 256);
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
                    key: state.rows.keys[row as usize],
                    vector,
                    least: f32::NEG_INFINITY,
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

    /// Find the least score among the ten best other rows of each trial.
    fn measure(&self, rows: &[u32], trials: &mut [Trial], scratches: &[(f64, Scratch)]) {
        let mut best = vec![[f32::NEG_INFINITY; K]; trials.len()];
        for batch in rows.chunks(64) {
            let state = self.read();
            for &row in batch
                .iter()
                .filter(|&&row| (row as usize) < state.rows.numbers() && state.rows.is_alive(row))
            {
                for ((trial, (dot_mean, scratch)), best) in
                    trials.iter().zip(scratches).zip(&mut best)
                {
                    let score = state.score_of(*dot_mean, row, scratch);
                    if score > best[K - 1] && state.rows.keys[row as usize] != trial.key {
                        let mut place = K - 1;
                        while place > 0 && score > best[place - 1] {
                            best[place] = best[place - 1];
                            place -= 1;
                        }
                        best[place] = score;
                    }
                }
            }
        }
        for (trial, best) in trials.iter_mut().zip(best) {
            trial.least = best[K - 1];
        }
    }

    /// Recall of searches, and the mean number of slots that they scan.
    fn recall(&self, trials: &[Trial], probes: usize, refine: usize) -> (f64, f64) {
        let mut scratch = Scratch::default();
        let (mut hits, mut scanned) = (0, 0);
        for trial in trials {
            self.try_search(
                &trial.vector,
                K + 1,
                Effort::Probe { probes, refine },
                &mut scratch,
            );
            let others = scratch
                .top
                .iter()
                .filter(|hit| hit.1 != trial.key && hit.0 >= trial.least)
                .count();
            hits += others.min(K);
            scanned += scratch.scanned;
        }
        let n = trials.len().max(1) as f64;
        (hits as f64 / (n * K as f64), scanned as f64 / n)
    }

    fn tune_flat(&self, trials: &[Trial], goal: f64, n: usize) -> Option<(usize, usize, f64)> {
        REFINE
            .into_iter()
            .take_while(|refine| 4 * refine < n)
            .find_map(|refine| {
                let (recall, _) = self.recall(trials, 1, refine);
                (recall >= goal).then_some((1, refine, recall))
            })
    }

    /// The cheapest of the settings that reach the goal, by a count of what each step costs.
    fn tune_lists(
        &self,
        trials: &[Trial],
        goal: f64,
        lists: usize,
        n: usize,
    ) -> Option<(usize, usize, f64)> {
        let mut best: Option<(f64, (usize, usize, f64))> = None;
        for refine in REFINE.into_iter().take_while(|refine| 4 * refine < n) {
            let (mut low, mut high) = (0, lists / 2);
            let mut reached = None;
            while high - low > (high / 16).max(1) {
                let probes = usize::midpoint(low, high).max(1);
                let (recall, scanned) = self.recall(trials, probes, refine);
                if recall >= goal {
                    high = probes;
                    reached = Some((probes, recall, scanned));
                } else {
                    low = probes;
                }
            }
            let Some((probes, recall, scanned)) = reached else {
                continue;
            };
            // In nanoseconds, roughly; only the proportions matter.
            let cost = 1.2 * scanned + 30.0 * refine as f64 + 25.0 * probes as f64;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, (probes, refine, recall)));
            } else if best.is_some_and(|(least, _)| 30.0 * refine as f64 > least) {
                break;
            }
        }
        let (cost, setting) = best?;
        (cost < 1.2 * n as f64).then_some(setting)
    }
}
