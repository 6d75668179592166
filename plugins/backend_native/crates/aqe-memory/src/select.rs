//! The largest of many numbers, without a heap.

use crate::kernels::{compress, count_above, extent};
use crate::level::Level;

/// A threshold above which there are `keep` of the values, or up to an eighth more; `None` if equal values forbid it.
///
/// Counts what is above a guess, in one pass, until that fits. The first guesses follow a straight line through the
/// logarithms of the counts on both sides, as the tail of a distribution does about; then intervals are halved.
pub fn threshold(level: Level, values: &[f32], keep: usize) -> Option<f32> {
    const GUESSES: usize = 4;
    const STEPS: usize = 28;
    let most = keep + keep / 8;
    let wanted = logarithm((keep + most) as f32 / 2.0);
    let [mut low, mut high] = extent(level, values);
    let mut sides = [logarithm(values.len() as f32), logarithm(0.5)];
    for step in 0..STEPS {
        let share = if step < GUESSES {
            ((sides[0] - wanted) / (sides[0] - sides[1])).clamp(0.02, 0.98)
        } else {
            0.5
        };
        let middle = (1.0 - share) * low + share * high;
        let above = count_above(level, values, middle);
        if above < keep {
            (high, sides[1]) = (middle, logarithm((above as f32).max(0.5)));
        } else if above > most {
            (low, sides[0]) = (middle, logarithm(above as f32));
        } else {
            return Some(middle);
        }
    }
    None
}

/// About the binary logarithm of a positive number, in units of its own.
fn logarithm(x: f32) -> f32 {
    x.to_bits() as f32
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

/// A value and a place in one integer, which is the smaller the larger the value is.
pub fn packed(value: f32, place: u32) -> u64 {
    let bits = value.to_bits();
    let ascending = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    u64::from(!ascending) << 32 | u64::from(place)
}

/// What was packed.
pub fn unpacked(entry: u64) -> (f32, u32) {
    let ascending = !((entry >> 32) as u32);
    let bits = if ascending >> 31 == 1 {
        ascending ^ 1 << 31
    } else {
        !ascending
    };
    (f32::from_bits(bits), entry as u32)
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
