//! From scores to an order: probabilities whose mean is the usual share of failures, and a knapsack under a budget.

use crate::exp::exp;
use crate::wide::wide;

const MAX_LOG_ODDS: f64 = 40.0;
const STEPS: usize = 60;
const TOLERANCE: f64 = 1e-9;
const LEVELS: usize = 13;
const SKIPS: usize = 2;
const LANES: usize = 8;
const SLACK: f64 = 1.0 + 1e-12;

/// `1 / (1 + exp(-(score + b)))` with the b for which their mean is `share`, by Newton's method within a bracket.
pub fn probabilities(scores: &[f64], share: f64) -> Vec<f64> {
    let mut chance = vec![0.0; scores.len()];
    if scores.is_empty() {
        return chance;
    }
    let n = scores.len() as f64;
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bottom = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let odds = (share / (1.0 - share)).ln();
    let (mut low, mut high) = (odds - top, odds - bottom);
    let mut shares = scores.to_vec();
    for share in &mut shares {
        *share = exp((*share - top).max(-MAX_LOG_ODDS));
    }
    let sum: f64 = shares.iter().sum();
    let mut shift = low - (sum / n).ln();
    for _ in 0..STEPS {
        let [expected, squares] = shifted(scores, shift, &mut chance);
        let excess = expected - share * n;
        if excess.abs() <= TOLERANCE * n {
            break;
        }
        if excess > 0.0 {
            high = shift;
        } else {
            low = shift;
        }
        let bend = expected - squares;
        let step = if bend > TOLERANCE {
            shift - excess / bend
        } else {
            low
        };
        shift = if low < step && step < high {
            step
        } else {
            0.5 * (low + high)
        };
    }
    chance
}

wide! {
    /// Set the chances of shifted scores; return their sum and that of their squares.
    fn shifted / shifted_portable(scores: &[f64], shift: f64, chance: &mut [f64]) -> [f64; 2] {
        for (chance, score) in chance.iter_mut().zip(scores) {
            *chance = 1.0 / (1.0 + exp((-shift - score).min(MAX_LOG_ODDS)));
        }
        let mut sums = [[0.0; LANES]; 2];
        let (lanes, rest) = chance.as_chunks::<LANES>();
        for chances in lanes {
            for (lane, &chance) in chances.iter().enumerate() {
                sums[0][lane] += chance;
                sums[1][lane] += chance * chance;
            }
        }
        for &chance in rest {
            sums[0][0] += chance;
            sums[1][0] += chance * chance;
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

/// A number that is smaller where the score is larger, as its bits.
fn falling(score: f64) -> u64 {
    let bits = (0.0 - score).to_bits(); // of the two zeros the same
    bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
}

/// The order of running: falling score, equal ones as given; under a budget the best of several.
///
/// Each of 13 thresholds, quantiles of chance over duration, gives an order: those that reach it first, each part by
/// falling score. Of these and the plain one that is taken for which the sum over those that fit the budget of
/// `chance * (1 + 1 / 2n - rank / n)` is largest. O(13 n) after two sorts.
pub fn ordered(scores: &[f64], chance: &[f64], duration_s: &[f64], budget_s: f64) -> Vec<usize> {
    let n = scores.len();
    let keyed = scores.iter().enumerate();
    let mut keyed: Vec<(u64, usize)> = keyed.map(|(i, &score)| (falling(score), i)).collect();
    keyed.sort_unstable();
    let order: Vec<usize> = keyed.iter().map(|&(_, i)| i).collect();
    let cost: Vec<f64> = order.iter().map(|&i| duration_s[i]).collect();
    let total: f64 = cost.iter().sum();
    let budget_s = budget_s * SLACK;
    if n < 2 || total <= budget_s {
        return order;
    }
    let gain: Vec<f64> = order.iter().map(|&i| chance[i]).collect();
    let scaled = gain.iter().zip(&cost);
    let worth: Vec<f64> = scaled
        .map(|(gain, cost)| gain / (cost / total).max(1e-12))
        .collect();
    let mut ranked: Vec<u64> = worth.iter().map(|worth| worth.to_bits()).collect(); // in their order: none is negative
    ranked.sort_unstable();
    let expected = |way: &[u32]| expected(way, &gain, &cost, budget_s);
    let mut best: Vec<u32> = (0..n as u32).collect();
    let mut most = expected(&best);
    let mut way = best.clone();
    for level in 0..LEVELS {
        // NumPy's linspace(0.02, 0.98, 13)
        let quantile = if level == LEVELS - 1 {
            0.98
        } else {
            level as f64 * (0.96 / (LEVELS - 1) as f64) + 0.02
        };
        partition(
            &worth,
            f64::from_bits(ranked[(quantile * (n - 1) as f64).ceil() as usize]),
            &mut way,
        );
        let found = expected(&way);
        if found.0 > most.0 || (found.0 == most.0 && found.1 <= most.1) {
            most = found;
            best.copy_from_slice(&way);
        }
    }
    best.iter().map(|&i| order[i as usize]).collect()
}

/// The indexes of those that reach a level, then of the others.
fn partition(worth: &[f64], level: f64, way: &mut [u32]) {
    let (mut front, mut back) = (0, worth.iter().filter(|&&worth| worth >= level).count());
    for (i, &worth) in worth.iter().enumerate() {
        let reached = worth >= level;
        way[if reached { front } else { back }] = i as u32;
        front += usize::from(reached);
        back += usize::from(!reached);
    }
}

/// The expected gain of an order, and how many tests were skipped for it: the first that do not fit are, the third
/// ends it.
fn expected(way: &[u32], gain: &[f64], cost: &[f64], mut budget_s: f64) -> (f64, usize) {
    let n = way.len() as f64;
    let (mut spent, mut skipped, mut rank, mut sum) = (0.0, 0, 0.0, 0.0);
    let mut skipped_before_last = 0;
    for &i in way {
        let i = i as usize;
        spent += cost[i];
        if spent > budget_s {
            if skipped == SKIPS {
                break;
            }
            skipped += 1;
            budget_s += cost[i]; // what is skipped costs nothing
            continue;
        }
        rank += 1.0;
        sum += gain[i] * (1.0 + 0.5 / n - rank / n);
        skipped_before_last = skipped;
    }
    (sum, skipped_before_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(n: usize) -> Vec<f64> {
        (0..n)
            .map(|i| ((i * 37 % 101) as f64 - 50.0) * 0.3)
            .collect()
    }

    #[test]
    fn wide_and_portable_give_the_same_bits() {
        for n in [0, 1, 7, 8, 100] {
            let (scores, mut one, mut other) = (scores(n), vec![0.0; n], vec![0.0; n]);
            let sums = shifted(&scores, 0.7, &mut one);
            assert_eq!(sums, shifted_portable(&scores, 0.7, &mut other));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn the_mean_chance_is_the_share() {
        for share in [0.001, 0.1, 0.9] {
            let chance = probabilities(&scores(60), share);
            assert!((chance.iter().sum::<f64>() / 60.0 - share).abs() < 1e-6);
        }
        assert_eq!(probabilities(&[], 0.1), []);
    }

    #[test]
    fn without_a_budget_the_score_decides_and_ties_keep_their_order() {
        let scores = [0.0, 1.0, -0.0, f64::INFINITY, 1.0, -3.0];
        let order = ordered(&scores, &[0.2; 6], &[1.0; 6], f64::INFINITY);
        assert_eq!(order, [3, 1, 4, 0, 2, 5]);
        assert!(ordered(&[], &[], &[], 1.0).is_empty());
    }

    #[test]
    fn under_a_budget_what_is_cheap_and_likely_comes_first() {
        let chance = [0.5, 0.45, 0.4, 0.01];
        let order = ordered(&chance, &chance, &[10.0, 1.0, 1.0, 9.0], 10.0);
        assert_eq!(order[..2], [1, 2]);
    }

    #[test]
    fn what_does_not_fit_is_skipped_twice() {
        let (gain, cost) = ([0.4, 0.3, 0.2, 0.1], [5.0, 9.0, 9.0, 1.0]);
        let expected_of = |way: &[u32]| expected(way, &gain, &cost, 6.0);
        let both = 0.4 * (1.125 - 0.25) + 0.1 * (1.125 - 0.5);
        for way in [[0, 1, 2, 3], [1, 2, 0, 3]] {
            let (sum, skipped) = expected_of(&way);
            assert!((sum - both).abs() < 1e-15);
            assert_eq!(skipped, 2);
        }
    }

    #[test]
    fn of_equal_orders_that_with_fewer_skipped_is_taken() {
        let chance = [0.5, 0.45, 0.4, 0.01];
        let order = ordered(&chance, &chance, &[10.0, 1.0, 1.0, 9.0], 10.0);
        assert_eq!(order, [1, 2, 0, 3]);
    }
}
