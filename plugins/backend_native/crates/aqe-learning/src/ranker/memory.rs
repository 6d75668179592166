//! What a ranker remembers of each test, and how a run changes it.

/// Learning rates of the exponentially weighted failure shares.
pub const RATES: [f64; 4] = [0.1, 0.2, 0.4, 0.7];
/// Length of a row.
pub const COLUMNS: usize = 15;

/// Numbers of a test, in the order in which states hold them.
///
/// The shares' numerators; what is left of their prior weights; then those below.
pub type Row = [f64; COLUMNS];

/// What is left of each share's prior weight, from here.
pub const UNTOUCHED: usize = 4;
/// Logarithm of the numerator of the share of rate 0.4.
pub const LOG_RECENT: usize = 8;
/// Runs.
pub const RUNS: usize = 9;
/// Failures.
pub const FAILURES: usize = 10;
/// Runs after the last failure; all runs if none failed.
pub const SINCE: usize = 11;
/// Failure share of the last cycle in which it ran.
pub const SHARE: usize = 12;
/// Cycles since then in which it was a candidate and was not run.
pub const UNSEEN: usize = 13;
/// Recent mean duration in seconds, NaN if unknown.
pub const DURATION: usize = 14;

/// A test of which nothing is known.
pub const FRESH: Row = {
    let mut row = [0.0; COLUMNS];
    row[UNTOUCHED] = 1.0;
    row[UNTOUCHED + 1] = 1.0;
    row[UNTOUCHED + 2] = 1.0;
    row[UNTOUCHED + 3] = 1.0;
    row[LOG_RECENT] = f64::NEG_INFINITY;
    row[DURATION] = f64::NAN;
    row
};

const MIN_DURATION_GAIN: f64 = 0.2; // the mean is that of all runs up to 5, then exponentially weighted

/// Logarithms of what a run leaves of the share of rate 0.4, and of what a failure adds.
#[derive(Clone, Copy)]
pub struct Logs {
    keep: f64,
    gain: f64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            keep: (1.0 - RATES[2]).ln(),
            gain: RATES[2].ln(),
        }
    }
}

impl Logs {
    /// What a run leaves.
    pub fn keep(&self) -> f64 {
        self.keep
    }

    /// A test after one run in a cycle with a failure share.
    pub fn after_run(&self, row: &mut Row, failed: bool, share: f64, duration_s: f64) {
        for (i, rate) in RATES.into_iter().enumerate() {
            row[i] *= 1.0 - rate;
            row[UNTOUCHED + i] *= 1.0 - rate;
            if failed {
                row[i] += rate;
            }
        }
        row[LOG_RECENT] += self.keep;
        row[RUNS] += 1.0;
        row[SINCE] += 1.0;
        if failed {
            row[LOG_RECENT] = log_add_exp(row[LOG_RECENT], self.gain);
            row[FAILURES] += 1.0;
            row[SINCE] = 0.0;
        }
        row[SHARE] = share;
        row[UNSEEN] = 0.0;
        if row[DURATION].is_nan() {
            row[DURATION] = duration_s;
        } else if !duration_s.is_nan() {
            let gain = MIN_DURATION_GAIN.max(1.0 / row[RUNS]);
            row[DURATION] += gain * (duration_s - row[DURATION]);
        }
    }
}

/// `ln(exp(left) + exp(right))` without overflow; either may be negative infinity.
#[inline]
pub fn log_add_exp(left: f64, right: f64) -> f64 {
    let (low, high) = if left < right {
        (left, right)
    } else {
        (right, left)
    };
    if low == f64::NEG_INFINITY {
        return high;
    }
    high + (low - high).exp().ln_1p()
}
