//! How a ranker learns: logistic regression on pairs of a failed test and another, with a Gaussian prior.
//!
//! Pairs of the last cycles are kept; older ones live on as the quadratic that approximated them when they left.

use std::collections::VecDeque;

use crate::exp::exp;

/// Pairs taken from a failing cycle, of weight 1 together.
pub const PAIRS: usize = 120;
/// Failing cycles whose pairs are kept.
pub const WINDOW: usize = 20;

const NEWTON_STEPS: usize = 2;
const SMALLEST_SQUARE: f64 = 1e-6;
const MAX_LOG_ODDS: f64 = 40.0;
const LANES: usize = 8; // numbers added side by side: the loops below compile to vector instructions

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
    slope: Vec<f64>,
    bend: Vec<f64>,
    weighed: Vec<f64>,
    wrong: Vec<f64>,
}

impl Slopes {
    fn new(f: usize) -> Self {
        Self {
            slope: vec![0.0; f],
            bend: vec![0.0; f * f],
            weighed: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// Add those of a cycle's pairs.
    fn add(&mut self, pairs: &Differences, weights: &[f64]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.add_avx2(pairs, weights) };
        }
        self.add_portable(pairs, weights);
    }

    /// The same operations in the same order, so the same bits, four numbers per instruction.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn add_avx2(&mut self, pairs: &Differences, weights: &[f64]) {
        self.add_portable(pairs, weights);
    }

    #[inline(always)]
    fn add_portable(&mut self, pairs: &Differences, weights: &[f64]) {
        let (f, stride, n) = (weights.len(), pairs.stride(), pairs.pairs);
        let row = |feature: usize| &pairs.numbers[feature * stride..][..stride];
        self.wrong.clear();
        self.wrong.resize(stride, 0.0);
        for (feature, &weight) in weights.iter().enumerate() {
            for (odds, difference) in self.wrong.iter_mut().zip(row(feature)) {
                *odds += weight * difference;
            }
        }
        let each = 1.0 / n as f64;
        self.weighed.clear();
        for odds in &mut self.wrong {
            let wrong = 1.0 / (1.0 + exp(odds.min(MAX_LOG_ODDS)));
            let pull = each * wrong;
            *odds = pull;
            self.weighed.push(pull - pull * wrong);
        }
        let mut scaled = vec![0.0; stride];
        for left in 0..f {
            self.slope[left] += dot(row(left), &self.wrong);
            for ((scaled, difference), weight) in
                scaled.iter_mut().zip(row(left)).zip(&self.weighed)
            {
                *scaled = difference * weight;
            }
            for right in left..f {
                let sum = dot(row(right), &scaled);
                self.bend[left * f + right] += sum;
                if right > left {
                    self.bend[right * f + left] += sum;
                }
            }
        }
    }
}

/// Sum of products; the lengths are whole lanes.
#[inline(always)]
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (left, right) = (left.as_chunks::<LANES>().0, right.as_chunks::<LANES>().0);
    for (left, right) in left.iter().zip(right) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    sums.iter().sum()
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
            slopes.add(&oldest, weights);
            for feature in 0..f {
                let bends = &slopes.bend[feature * f..][..f];
                let bent: f64 = bends.iter().zip(weights).map(|(b, w)| b * w).sum();
                self.pull[feature] += slopes.slope[feature] + bent;
            }
            for (sum, bend) in self.curvature.iter_mut().zip(&slopes.bend) {
                *sum += bend;
            }
        }
        for (feature, sum) in self.squares.iter_mut().enumerate() {
            let row = &pairs.numbers[feature * pairs.stride()..][..pairs.stride()];
            *sum += dot(row, row) / pairs.pairs as f64;
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
                slopes.add(pairs, weights);
            }
            let Slopes {
                mut slope,
                mut bend,
                ..
            } = slopes;
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
