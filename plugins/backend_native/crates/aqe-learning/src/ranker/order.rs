//! From scores to an order: probabilities whose mean is the usual share of failures, and a knapsack under a budget.

const MAX_LOG_ODDS: f64 = 40.0;
const STEPS: usize = 60;
const TOLERANCE: f64 = 1e-9;
const LEVELS: usize = 13;
const SKIPS: usize = 2;
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
    let sum: f64 = scores
        .iter()
        .map(|score| (score - top).max(-MAX_LOG_ODDS).exp())
        .sum();
    let mut shift = low - (sum / n).ln();
    for _ in 0..STEPS {
        let (mut expected, mut squares) = (0.0, 0.0);
        for (chance, score) in chance.iter_mut().zip(scores) {
            *chance = 1.0 / (1.0 + (-shift - score).min(MAX_LOG_ODDS).exp());
            expected += *chance;
            squares += *chance * *chance;
        }
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
    let mut ranked = worth.clone();
    ranked.sort_unstable_by(f64::total_cmp);
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
            ranked[(quantile * (n - 1) as f64).ceil() as usize],
            &mut way,
        );
        let found = expected(&way);
        if found > most {
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

/// The expected gain of an order: the first tests that do not fit are skipped, the third ends it.
fn expected(way: &[u32], gain: &[f64], cost: &[f64], mut budget_s: f64) -> f64 {
    let n = way.len() as f64;
    let (mut spent, mut skipped, mut rank, mut sum) = (0.0, 0, 0.0, 0.0);
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
    }
    sum
}
