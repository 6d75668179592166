//! How a ranker learns: logistic regression on pairs of a failed test and another, with a Gaussian prior.
//!
//! Pairs of the last cycles are kept; older ones live on as the quadratic that approximated them when they left.

use std::collections::VecDeque;

use crate::exp::exp;
use crate::wide::wide;

/// Pairs taken from a failing cycle, of weight 1 together.
pub const PAIRS: usize = 120;
/// Failing cycles whose pairs are kept.
pub const WINDOW: usize = 20;

const NEWTON_STEPS: usize = 2;
const SMALLEST_SQUARE: f64 = 1e-6;
const MAX_LOG_ODDS: f64 = 40.0;
const LANES: usize = 16; // numbers added side by side: the loops below compile to vector instructions

/// Differences of features of a cycle's pairs: feature by feature, each row of whole lanes, zeros beyond the pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Differences {
    pairs: usize,
    numbers: Vec<f64>,
}

impl Differences {
    /// From the difference of each feature and pair.
    pub fn new(features: usize, pairs: usize, of: impl Fn(usize, usize) -> f64) -> Self {
        let stride = pairs.next_multiple_of(LANES);
        let mut numbers = vec![0.0; features * stride];
        for feature in 0..features {
            for pair in 0..pairs {
                numbers[feature * stride + pair] = of(feature, pair);
            }
        }
        Self { pairs, numbers }
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The differences of a feature.
    pub fn row(&self, feature: usize) -> &[f64] {
        &self.numbers[feature * self.stride()..][..self.pairs]
    }

    fn stride(&self) -> usize {
        self.pairs.next_multiple_of(LANES)
    }
}

/// What the weights are learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Kept cycles, oldest first.
    pub window: VecDeque<Differences>,
    /// The quadratic of the older cycles, `w . curvature . w / 2 - pull . w`; shape (f, f).
    pub curvature: Vec<f64>,
    /// Shape (f,).
    pub pull: Vec<f64>,
    /// Sum over failing cycles of the mean square of each difference, shape (f,).
    pub squares: Vec<f64>,
    /// Failing cycles learned from.
    pub cycles: u64,
}

/// The descent direction of the loss and its curvature, and room for what leads there.
struct Slopes {
    slope: Vec<[f64; LANES]>, // to be summed over lanes
    bend: Vec<[f64; LANES]>,  // of the upper triangle
    room: Vec<f64>,
}

impl Slopes {
    fn new(f: usize) -> Self {
        Self {
            slope: vec![[0.0; LANES]; f],
            bend: vec![[0.0; LANES]; f * f],
            room: Vec::new(),
        }
    }

    /// The direction, shape (f,), and the curvature, shape (f, f).
    fn summed(&self) -> (Vec<f64>, Vec<f64>) {
        let f = self.slope.len();
        let sum = |lanes: &[f64; LANES]| -> f64 { lanes.iter().sum() };
        let mut bend: Vec<f64> = self.bend.iter().map(sum).collect();
        for row in 1..f {
            for column in 0..row {
                bend[row * f + column] = bend[column * f + row];
            }
        }
        (self.slope.iter().map(sum).collect(), bend)
    }
}

wide! {
    /// Add those of a cycle's pairs.
    fn add / add_portable(slopes: &mut Slopes, pairs: &Differences, weights: &[f64]) {
        let (f, stride) = (weights.len(), pairs.stride());
        let row = |feature: usize| &pairs.numbers[feature * stride..][..stride];
        slopes.room.clear();
        slopes.room.resize(3 * stride, 0.0);
        let (wrong, rest) = slopes.room.split_at_mut(stride);
        let (weighed, scaled) = rest.split_at_mut(stride);
        for (feature, &weight) in weights.iter().enumerate() {
            for (odds, difference) in wrong.iter_mut().zip(row(feature)) {
                *odds += weight * difference;
            }
        }
        let each = 1.0 / pairs.pairs as f64;
        for (odds, weight) in wrong.iter_mut().zip(weighed.iter_mut()) {
            let wrong = 1.0 / (1.0 + exp(odds.min(MAX_LOG_ODDS)));
            *odds = each * wrong;
            *weight = *odds - *odds * wrong;
        }
        for left in 0..f {
            add_dot(&mut slopes.slope[left], row(left), wrong);
            for ((scaled, difference), weight) in scaled.iter_mut().zip(row(left)).zip(&*weighed) {
                *scaled = difference * weight;
            }
            for right in left..f {
                add_dot(&mut slopes.bend[left * f + right], row(right), scaled);
            }
        }
    }
}

/// Add products, lane by lane; the lengths are whole lanes.
#[inline(always)]
fn add_dot(sums: &mut [f64; LANES], left: &[f64], right: &[f64]) {
    let mut added = *sums;
    let (left, right) = (left.as_chunks::<LANES>().0, right.as_chunks::<LANES>().0);
    for (left, right) in left.iter().zip(right) {
        for ((sum, left), right) in added.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    *sums = added;
}

impl Memory {
    /// Of `f` features and no cycle.
    pub fn new(f: usize) -> Self {
        Self {
            window: VecDeque::with_capacity(WINDOW + 1),
            curvature: vec![0.0; f * f],
            pull: vec![0.0; f],
            squares: vec![0.0; f],
            cycles: 0,
        }
    }

    /// Make room for another feature, which was 0 in all pairs.
    pub fn grow(&mut self) {
        let f = self.pull.len();
        let mut curvature = vec![0.0; (f + 1) * (f + 1)];
        for (to, from) in curvature
            .chunks_exact_mut(f + 1)
            .zip(self.curvature.chunks_exact(f))
        {
            to[..f].copy_from_slice(from);
        }
        self.curvature = curvature;
        self.pull.push(0.0);
        self.squares.push(0.0);
        for pairs in &mut self.window {
            let more = pairs.stride();
            pairs.numbers.resize(pairs.numbers.len() + more, 0.0);
        }
    }

    /// Take in the pairs of one more cycle; the oldest leaves a full window.
    pub fn remember(&mut self, pairs: Differences, weights: &[f64]) {
        let f = weights.len();
        if self.window.len() == WINDOW
            && let Some(oldest) = self.window.pop_front()
        {
            let mut slopes = Slopes::new(f);
            add(&mut slopes, &oldest, weights);
            let (slope, bend) = slopes.summed();
            for feature in 0..f {
                let bends = &bend[feature * f..][..f];
                let bent: f64 = bends.iter().zip(weights).map(|(b, w)| b * w).sum();
                self.pull[feature] += slope[feature] + bent;
            }
            for (sum, bend) in self.curvature.iter_mut().zip(&bend) {
                *sum += bend;
            }
        }
        for (feature, sum) in self.squares.iter_mut().enumerate() {
            let row = &pairs.numbers[feature * pairs.stride()..][..pairs.stride()];
            let mut lanes = [0.0; LANES];
            add_dot(&mut lanes, row, row);
            *sum += lanes.iter().sum::<f64>() / pairs.pairs as f64;
        }
        self.window.push_back(pairs);
        self.cycles += 1;
    }

    /// Move the weights by two Newton steps.
    ///
    /// The prior's precision is `strength` cycles' worth of a feature's usual information, a quarter of its mean square.
    pub fn fit(&self, weights: &mut [f64], start: &[f64], strength: f64) {
        let f = weights.len();
        let mean = |square: &f64| (square / self.cycles as f64).max(SMALLEST_SQUARE);
        let precision: Vec<f64> = self
            .squares
            .iter()
            .map(|square| strength * 0.25 * mean(square))
            .collect();
        for _ in 0..NEWTON_STEPS {
            let mut slopes = Slopes::new(f);
            for pairs in &self.window {
                add(&mut slopes, pairs, weights);
            }
            let (mut slope, mut bend) = slopes.summed();
            for (sum, curvature) in bend.iter_mut().zip(&self.curvature) {
                *sum += curvature;
            }
            for feature in 0..f {
                let curvatures = &self.curvature[feature * f..][..f];
                let bent: f64 = curvatures.iter().zip(&*weights).map(|(c, w)| c * w).sum();
                let given = start.get(feature).copied().unwrap_or(0.0);
                slope[feature] +=
                    self.pull[feature] - bent - precision[feature] * (weights[feature] - given);
                bend[feature * f + feature] += precision[feature];
            }
            solve(&mut bend, &mut slope);
            for (weight, step) in weights.iter_mut().zip(&slope) {
                *weight += step;
            }
        }
    }
}

/// Solve linear equations in place, by elimination with row pivots. O(n^3).
fn solve(matrix: &mut [f64], right: &mut [f64]) {
    let n = right.len();
    for k in 0..n {
        let size = |row: &usize| matrix[row * n + k].abs();
        let pivot = (k..n)
            .max_by(|a, b| size(a).total_cmp(&size(b)))
            .unwrap_or(k);
        if pivot != k {
            (0..n).for_each(|column| matrix.swap(k * n + column, pivot * n + column));
            right.swap(k, pivot);
        }
        let (above, below) = matrix.split_at_mut((k + 1) * n);
        let pivots = &above[k * n..];
        for (row, i) in below.chunks_exact_mut(n).zip(k + 1..) {
            let factor = row[k] / pivots[k];
            for (number, &pivot) in row[k..].iter_mut().zip(&pivots[k..]) {
                *number -= factor * pivot;
            }
            right[i] -= factor * right[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n)
            .map(|column| matrix[k * n + column] * right[column])
            .sum();
        right[k] = (right[k] - known) / matrix[k * n + k];
    }
}

/// Up to [`PAIRS`] distinct pairs (failed, other) of indexes into `slots`, spread evenly over both.
///
/// Both are put in the order of a hash of slot and salt; pair i takes item i of the one, and of the other, around and
/// around, shifted by one after each least common multiple so that no pair comes twice.
pub fn pairs(failed: &[bool], slots: &[i64], salt: u64) -> Vec<(usize, usize)> {
    let shuffled = |which: bool| {
        let items = (0..slots.len()).filter(|&i| failed[i] == which);
        let mut keyed: Vec<(u64, usize)> =
            items.map(|i| (hashed(slots[i] as u64, salt), i)).collect();
        let needed = 2 * PAIRS; // no index of a pair is beyond
        let n = keyed.len();
        if n > needed {
            keyed.select_nth_unstable(needed);
            keyed.truncate(needed);
        }
        keyed.sort_unstable();
        (keyed, n)
    };
    let ((left, m), (right, q)) = (shuffled(true), shuffled(false));
    let lcm = m / gcd(m, q) * q;
    let both = (0..PAIRS.min(m * q)).map(|i| (left[i % m].1, right[(i + i / lcm) % q].1));
    both.collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// 64 well-mixed bits (the finalizer of SplitMix64; Steele, Lea and Flood 2014).
fn hashed(slot: u64, salt: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    const MIX: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];
    let start = salt.wrapping_mul(MIX[1]).wrapping_add(GOLDEN);
    let start = (start ^ start >> 30).wrapping_mul(MIX[0]);
    let bits = slot.wrapping_mul(GOLDEN).wrapping_add(start);
    let bits = (bits ^ bits >> 30).wrapping_mul(MIX[0]);
    let bits = (bits ^ bits >> 27).wrapping_mul(MIX[1]);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = hashed(state, seed);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        }
    }

    fn some_pairs(features: usize, pairs: usize, seed: u64) -> Differences {
        let mut next = numbers(seed);
        let drawn: Vec<f64> = (0..features * pairs).map(|_| next()).collect();
        Differences::new(features, pairs, |feature, pair| {
            drawn[feature * pairs + pair]
        })
    }

    #[test]
    fn wide_and_portable_give_the_same_bits() {
        for (features, pairs) in [(1, 1), (7, 8), (7, 120), (9, 37)] {
            let kept = some_pairs(features, pairs, 3);
            let weights: Vec<f64> = (0..features).map(|i| 30.0 - 9.0 * i as f64).collect();
            let (mut one, mut other) = (Slopes::new(features), Slopes::new(features));
            add(&mut one, &kept, &weights);
            add_portable(&mut other, &kept, &weights);
            assert_eq!((one.slope, one.bend), (other.slope, other.bend));
        }
    }

    #[test]
    fn slopes_are_those_of_the_loss() {
        let (kept, weights) = (some_pairs(3, 50, 1), [0.5, -1.0, 2.0]);
        let loss = |weights: &[f64]| -> f64 {
            let odds =
                |pair: usize| -> f64 { (0..3).map(|i| weights[i] * kept.row(i)[pair]).sum() };
            (0..50).map(|pair| (-odds(pair)).exp().ln_1p() / 50.0).sum()
        };
        let mut slopes = Slopes::new(3);
        add(&mut slopes, &kept, &weights);
        let found = slopes.summed();
        for i in 0..3 {
            let (mut up, mut down) = (weights, weights);
            up[i] += 1e-4;
            down[i] -= 1e-4;
            let slope = (loss(&up) - loss(&down)) / 2e-4;
            let bend = (loss(&up) + loss(&down) - 2.0 * loss(&weights)) / 1e-8;
            assert!((found.0[i] + slope).abs() < 1e-7);
            assert!((found.1[i * 3 + i] - bend).abs() < 1e-6);
        }
    }

    #[test]
    fn solves_what_needs_pivots() {
        let mut matrix = [0.0, 2.0, 1.0, 1.0, 1.0, 0.0, 3.0, 0.0, 1.0];
        let mut right = [7.0, 3.0, 6.0]; // of (1, 2, 3)
        solve(&mut matrix, &mut right);
        for (found, wanted) in right.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn pairs_are_distinct_and_of_both_kinds() {
        for (m, n) in [
            (1, 2),
            (3, 9),
            (40, 50),
            (1, 1000),
            (999, 1000),
            (500, 1000),
        ] {
            let slots: Vec<i64> = (0..n as i64).collect();
            let failed: Vec<bool> = (0..n).map(|i| i % n < m).collect();
            let mut found = pairs(&failed, &slots, 17);
            assert_eq!(found.len(), PAIRS.min(m * (n - m)));
            assert!(
                found
                    .iter()
                    .all(|&(one, other)| failed[one] && !failed[other])
            );
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), PAIRS.min(m * (n - m)));
        }
    }

    #[test]
    fn room_for_more_changes_nothing() {
        let mut memory = Memory::new(2);
        let mut weights = vec![1.0, 0.0];
        for cycle in 0..WINDOW as u64 + 5 {
            memory.remember(some_pairs(2, 20, cycle), &weights);
            memory.fit(&mut weights, &[1.0], 5.0);
        }
        let (mut more, mut same) = (memory.clone(), weights.clone());
        more.grow();
        same.push(0.0);
        memory.fit(&mut weights, &[1.0], 5.0);
        more.fit(&mut same, &[1.0], 5.0);
        assert_eq!(same[..2], weights[..]);
        assert_eq!((same[2], more.window.len()), (0.0, WINDOW));
    }
}
