//! What a ranker looks at: numbers of candidates from what is remembered of them.

use super::memory::{self as at, Logs, Row, log_add_exp};

/// Number of features beside the context's.
pub const CORE: usize = 7;
/// Weights before anything is learned. Those of the context are 0.
pub const START: [f64; CORE] = [1.0, 0.3, 0.0, 0.0, 0.0, 0.0, 1.0];
/// The feature whose weight is not learned: from what the ranker chose itself it would be biased.
pub const UNWATCHED: usize = 6;

const PRIOR_RANGE: [f64; 2] = [0.02, 0.5];
const SHARE_RANGE: [f64; 2] = [0.01, 0.99];
const PRIOR_RUNS: f64 = 2.0;
const QUIET_RUNS: f64 = 5.0;
const MAX_PERSISTENCE: f64 = 0.99;
const SMALLEST: f64 = 1e-9;

/// Running shares over all cycles.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Of all runs those that failed.
    pub failed: f64,
    /// Of the first runs of tests those that failed.
    pub new_failed: f64,
    /// How much longer than by chance a test stays broken or sound.
    pub persistence: f64,
}

impl Shares {
    /// From (failures, runs): of all runs, of first runs, of runs after a failed one and after a passed one.
    ///
    /// The persistence is the second eigenvalue of the two-state Markov chain of a test's outcomes.
    pub fn of(tallies: &[[f64; 2]; 4]) -> Self {
        let [every, new, after_failure, after_pass] = tallies;
        let stays = (after_failure[0] + 1.0) / (after_failure[1] + 2.0);
        let breaks = (after_pass[0] + 0.1) / (after_pass[1] + 1.0);
        Self {
            failed: every[0] / every[1],
            new_failed: new[0] / new[1],
            persistence: (stays - breaks).clamp(0.0, MAX_PERSISTENCE),
        }
    }
}

/// The features of candidates, `CORE` times `n` numbers, feature by feature, as `aqe_backend_numpy` defines them.
pub fn features(rows: &[Row], duration_s: &[f64], shares: &Shares, logs: &Logs) -> Vec<f64> {
    let n = rows.len();
    let prior = shares.new_failed.clamp(PRIOR_RANGE[0], PRIOR_RANGE[1]);
    let usual = shares.failed.clamp(SHARE_RANGE[0], SHARE_RANGE[1]);
    let (log_prior, usual_odds) = (prior.ln(), (usual / (1.0 - usual)).ln());
    let stay = shares.persistence;
    let mut out = vec![0.0; CORE * n];
    let mut columns = out.chunks_exact_mut(n.max(1));
    let mut next = || columns.next().unwrap_or_default();
    let (record, recency, duration) = (next(), next(), next());
    let (new, never_failed, last_cycle, unwatched) = (next(), next(), next(), next());
    for (to, &seconds) in duration.iter_mut().zip(duration_s) {
        *to = seconds.max(1e-6).ln();
    }
    standardize(duration);
    let mut last = (f64::NAN, 0.0); // most tests ran last in the same cycle
    for (i, row) in rows.iter().enumerate() {
        let (runs, failures, since) = (row[at::RUNS], row[at::FAILURES], row[at::SINCE]);
        let ran = runs > 0.0;
        let mut mean = (failures + PRIOR_RUNS * prior) / (runs + PRIOR_RUNS);
        for rate in 0..at::RATES.len() {
            mean += row[rate] + row[at::UNTOUCHED + rate] * prior;
        }
        mean /= (at::RATES.len() + 1) as f64;
        mean = mean.clamp(SMALLEST, 1.0 - SMALLEST);
        record[i] = (mean / (1.0 - mean)).ln();
        recency[i] = log_add_exp(row[at::LOG_RECENT], runs * logs.keep() + log_prior) / 100.0;
        if !ran {
            (duration[i], new[i]) = (0.0, 1.0);
            continue; // what is left is 0
        }
        if since < QUIET_RUNS.min(runs) {
            duration[i] = 0.0;
        }
        never_failed[i] = f64::from(failures == 0.0);
        if row[at::SHARE] != last.0 {
            let share = row[at::SHARE].clamp(SHARE_RANGE[0], SHARE_RANGE[1]);
            last = (row[at::SHARE], (share / (1.0 - share)).ln() - usual_odds);
        }
        last_cycle[i] = last.1;
        if since > 0.0 && row[at::UNSEEN] > 0.0 {
            unwatched[i] = ((1.0 - stay.powf(row[at::UNSEEN] + 1.0)) / (1.0 - stay)).ln();
        }
    }
    out
}

/// Take the mean away and divide by the standard deviation; zeros where all are but equal.
pub fn standardize(values: &mut [f64]) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter_mut().for_each(|value| *value -= mean);
    let spread = (values.iter().map(|value| value * value).sum::<f64>() / n).sqrt();
    if spread > SMALLEST {
        values.iter_mut().for_each(|value| *value /= spread);
    } else {
        values.fill(0.0);
    }
}
