//! The largest of many numbers, without a heap.

use crate::kernels::{compress, max16, vectorized};
use crate::level::Level;

/// A threshold above which there are `keep` of the values, or up to an eighth more; `None` if equal values forbid it.
///
/// Interpolating bisection on counts: each step is one pass over the values.
pub fn threshold(level: Level, values: &[f32], keep: usize) -> Option<f32> {
    vectorized(
        level,
        #[inline(always)]
        || {
            // The least value is the largest negated one.
            let (mut low, mut high) = ([f32::NEG_INFINITY; 16], [f32::NEG_INFINITY; 16]);
            for part in values.chunks_exact(16) {
                for i in 0..16 {
                    low[i] = if -part[i] > low[i] { -part[i] } else { low[i] };
                    high[i] = if part[i] > high[i] { part[i] } else { high[i] };
                }
            }
            let (mut low, mut high) = (
                -max16(&low, f32::NEG_INFINITY),
                max16(&high, f32::NEG_INFINITY),
            );
            for &value in values.chunks_exact(16).remainder() {
                (low, high) = (low.min(value), high.max(value));
            }
            let most = keep + keep / 8;
            for _ in 0..24 {
                let middle = 0.5 * low + 0.5 * high;
                let above = values
                    .iter()
                    .map(|&value| u32::from(value > middle))
                    .sum::<u32>() as usize;
                if above < keep {
                    high = middle;
                } else if above > most {
                    low = middle;
                } else {
                    return Some(middle);
                }
            }
            None
        },
    )
}

/// Keep the largest values and what stands beside them: `keep` of them, or up to an eighth more. Return how many are
/// left and the largest value that may have been dropped.
pub fn cut(level: Level, values: &mut [f32], others: &mut [u32], keep: usize) -> (usize, f32) {
    if values.len() <= keep {
        return (values.len(), f32::NEG_INFINITY);
    }
    if let Some(bound) = threshold(level, values, keep) {
        let len = compress(level, values, others, bound);
        return (len, bound);
    }
    // Many equal values at the bound: by value, then by what stands beside.
    let mut order: Vec<(f32, u32)> = values.iter().copied().zip(others.iter().copied()).collect();
    order.select_nth_unstable_by(keep - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (i, (value, other)) in order[..keep].iter().enumerate() {
        values[i] = *value;
        others[i] = *other;
    }
    (keep, order[keep - 1].0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn keeps_the_largest() {
        let mut random = Random::new(3);
        for level in Level::supported() {
            for (n, range) in [(1, 9), (40, 1 << 20), (300, 1 << 20), (300, 7), (257, 1)] {
                for keep in [1, 10, 60] {
                    let values: Vec<f32> = (0..n).map(|_| random.below(range) as f32).collect();
                    let mut sorted = values.clone();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    let (mut kept, mut places) =
                        (values.clone(), (0..n as u32).collect::<Vec<_>>());
                    let (len, bound) = cut(level, &mut kept, &mut places, keep);
                    assert!(len >= keep.min(n) && len <= (keep + keep / 8).max(1));
                    let mut found = kept[..len].to_vec();
                    found.sort_by(|a, b| b.total_cmp(a));
                    assert_eq!(found, sorted[..len]);
                    assert!(sorted[len..].iter().all(|&value| value <= bound));
                    assert!((0..len).all(|i| values[places[i] as usize] == kept[i]));
                }
            }
        }
    }
}
