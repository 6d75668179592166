//! The largest of many numbers, without a heap.

use crate::kernels::{compress, count_above, extent, ranks, repeated};
use crate::level::Level;

/// A threshold above which there are `keep` of the values, or up to an eighth more; `None` if equal values forbid it.
///
/// Counts what is above a guess, in one pass, until that fits. The first guesses follow a straight line through what
/// the quantiles of a normal distribution are about, as they are in proportion to the root of the logarithm of the
/// share above; then intervals are halved.
pub fn threshold(level: Level, values: &[f32], keep: usize) -> Option<f32> {
    const GUESSES: usize = 8;
    const STEPS: usize = 32;
    let most = keep + keep / 8;
    let all = logarithm(2.0 * values.len() as f32);
    let quantile = |above: f32| (all - logarithm(above)).max(0.0).sqrt();
    let wanted = quantile((keep + most) as f32 / 2.0);
    let [mut low, mut high] = extent(level, values);
    let mut sides = [quantile(values.len() as f32), quantile(0.5)];
    for step in 0..STEPS {
        let share = if step < GUESSES {
            ((wanted - sides[0]) / (sides[1] - sides[0])).clamp(0.02, 0.98)
        } else {
            0.5
        };
        let middle = (1.0 - share) * low + share * high;
        let above = count_above(level, values, middle);
        if above < keep {
            (high, sides[1]) = (middle, quantile((above as f32).max(0.5)));
        } else if above > most {
            (low, sides[0]) = (middle, quantile(above as f32));
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

/// So many values [`order`] takes at most.
pub const FEW: usize = 64;

/// The numbers of a few values in the order of the values, the largest first; of equal ones the first one first.
pub fn order(level: Level, values: &[f32]) -> [u32; FEW] {
    let mut places = [0; FEW];
    let places = &mut places[..values.len()];
    ranks(level, values, places);
    let mut numbers = [0; FEW];
    for (number, &place) in (0..).zip(&*places) {
        numbers[place as usize] = number;
    }
    numbers
}

/// So many numbers are compared each with each; more are looked up.
const SHORT: usize = 128;

/// Keep each number once, in the order in which they first come. `seen` is scratch.
pub fn distinct(level: Level, numbers: &mut Vec<u32>, seen: &mut Vec<u32>) {
    let n = numbers.len();
    if n > SHORT {
        seen.clear();
        seen.resize((2 * n).next_power_of_two(), u32::MAX);
        return numbers.retain(|&number| is_new(number, seen));
    }
    let mut again = [false; SHORT];
    repeated(level, numbers, &mut again[..n]);
    let mut len = 0;
    for i in 0..n {
        numbers[len] = numbers[i];
        len += usize::from(!again[i]);
    }
    numbers.truncate(len);
}

/// Whether a number is seen for the first time; `seen` is a table of twice as many places as numbers, a power of two.
fn is_new(number: u32, seen: &mut [u32]) -> bool {
    let mask = seen.len() - 1;
    let mut place = (number.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
    while seen[place] != u32::MAX {
        if seen[place] == number {
            return false;
        }
        place = (place + 1) & mask;
    }
    seen[place] = number;
    true
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

    #[test]
    fn orders_few_numbers_by_value() {
        let mut random = Random::new(4);
        for level in Level::supported() {
            for n in [0, 1, 7, 15, 16, 17, 37, FEW] {
                for range in [2, 1 << 20] {
                    let value = |_| random.below(range) as f32 - 9.0;
                    let values: Vec<f32> = (0..n).map(value).collect();
                    let mut sorted: Vec<u32> = (0..n as u32).collect();
                    sorted.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
                    assert_eq!(order(level, &values)[..n], sorted);
                }
            }
        }
    }

    #[test]
    fn keeps_each_number_once() {
        let mut random = Random::new(5);
        let mut scratch = Vec::new();
        for level in Level::supported() {
            for n in [0, 1, 15, 16, 17, 56, SHORT, SHORT + 1, 500] {
                for range in [1, 40, 1 << 20] {
                    let mut numbers: Vec<u32> =
                        (0..n).map(|_| random.below(range) as u32).collect();
                    let mut wanted = Vec::new();
                    for &number in &numbers {
                        if !wanted.contains(&number) {
                            wanted.push(number);
                        }
                    }
                    distinct(level, &mut numbers, &mut scratch);
                    assert_eq!(numbers, wanted, "{level:?} {n} {range}");
                }
            }
        }
    }
}
