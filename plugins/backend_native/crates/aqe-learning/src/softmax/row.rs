//! A row of the table, the softmax over it, and the step along its gradient. All sums run from left to right.

use super::Rules;
use crate::table::Entry;

/// A state: its value, and its actions in the order in which they came, the declared ones first.
pub(super) struct Row {
    pub worth: f64,
    columns: Vec<u32>,
    preferences: Vec<f64>,
    visits: Vec<u64>,
    lasts: Vec<u64>,
}

impl Row {
    /// A row with the first `declared` columns.
    pub fn new(worth: f64, declared: usize) -> Self {
        Self {
            worth,
            columns: (0..declared as u32).collect(),
            preferences: vec![0.0; declared],
            visits: vec![0; declared],
            lasts: vec![0; declared],
        }
    }

    pub fn len(&self) -> usize {
        self.columns.len()
    }

    pub fn preferences(&self) -> &[f64] {
        &self.preferences
    }

    pub fn visits(&self) -> &[u64] {
        &self.visits
    }

    /// Of each place the number of its last update.
    pub fn lasts(&self) -> &[u64] {
        &self.lasts
    }

    /// The place of a column. O(1) where columns came in order, else O(actions).
    #[inline]
    pub fn place(&self, column: usize) -> Option<usize> {
        let column = column as u32;
        if self.columns.get(column as usize) == Some(&column) {
            return Some(column as usize);
        }
        self.columns.iter().position(|&held| held == column)
    }

    /// The place of a column, made if need be; the visit is counted, as the update of this number.
    #[inline]
    pub fn enter(&mut self, column: usize, number: u64) -> usize {
        let place = self.place(column).unwrap_or_else(|| {
            self.push(Entry {
                column,
                value: 0.0,
                visits: 0,
                last: 0,
            });
            self.columns.len() - 1
        });
        self.visits[place] = self.visits[place].wrapping_add(1);
        self.lasts[place] = number;
        place
    }

    /// Add a pair whose column is not there.
    pub fn push(&mut self, entry: Entry) {
        self.columns.push(entry.column as u32);
        self.preferences.push(entry.value);
        self.visits.push(entry.visits);
        self.lasts.push(entry.last);
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let counts = self.visits.iter().zip(&self.lasts);
        let pairs = self.columns.iter().zip(&self.preferences).zip(counts);
        pairs.map(|((&column, &value), (&visits, &last))| Entry {
            column: column as usize,
            value,
            visits,
            last,
        })
    }

    /// Move along `step` times the gradient of the logarithm of a place's probability, plus the entropy bonus.
    #[inline]
    pub fn climb(&mut self, place: usize, step: f64, softmax: &Softmax, rules: &Rules) {
        let bonus = rules.learning_rate * rules.entropy_coefficient;
        let entropy = if bonus == 0.0 { 0.0 } else { softmax.entropy() };
        let shares = softmax.shares.iter().zip(&softmax.logs).enumerate();
        for (preference, (at, (share, log))) in self.preferences.iter_mut().zip(shares) {
            let mut change = step * (f64::from(u8::from(at == place)) - share);
            if bonus != 0.0 {
                change -= bonus * share * (log + entropy);
            }
            *preference += change;
        }
    }
}

/// Probabilities and their logarithms.
#[derive(Default)]
pub(super) struct Softmax {
    shares: Vec<f64>,
    logs: Vec<f64>,
}

impl Softmax {
    /// Those of preferences, at least one. O(n).
    ///
    /// With `m` the largest, a probability is `exp(p - m) / total`, its logarithm `(p - m) - log(total)`: finite even
    /// where the probability is zero.
    #[inline]
    pub fn take(&mut self, preferences: &[f64]) {
        let top = preferences[super::first_largest(preferences)];
        self.logs.clear();
        self.logs
            .extend(preferences.iter().map(|value| value - top));
        self.shares.clear();
        self.shares.extend(self.logs.iter().map(|log| log.exp()));
        let total = self.shares.iter().fold(0.0, |sum, power| sum + power);
        let log_total = total.ln();
        self.shares.iter_mut().for_each(|share| *share /= total);
        self.logs.iter_mut().for_each(|log| *log -= log_total);
    }

    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    pub fn log(&self, place: usize) -> f64 {
        self.logs[place]
    }

    fn entropy(&self) -> f64 {
        let pairs = self.shares.iter().zip(&self.logs);
        pairs.fold(0.0, |entropy, (share, log)| entropy - share * log)
    }
}
