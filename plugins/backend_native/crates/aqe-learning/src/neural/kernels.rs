//! Products of small matrices and elementwise functions, in float32, with samples along the lanes.
//!
//! A matrix of `m` features and `n` samples lies feature by feature, `n` being whole lanes.

use crate::wide::wide;

/// Samples are padded to a multiple of this.
pub const LANES: usize = 32;
const HALF: usize = 16;
const ROWS: usize = 8;
const TILE: usize = 4;

wide! {
    /// `out[r][s] = start[r] + sum over p of left(p, r) right[p][s]`, with `left(p, r) = left[p * steps[0] + r * steps[1]]`.
    ///
    /// `out` has `start.len()` features, `right` has `inner` ones.
    pub fn product / product_portable(
        left: &[f32],
        steps: [usize; 2],
        inner: usize,
        right: &[f32],
        start: &[f32],
        out: &mut [f32],
        panel: &mut Vec<f32>,
    ) {
        let n = out.len() / start.len();
        let mut row = 0;
        while row < start.len() {
            let rest = start.len() - row;
            let here = [&left[row * steps[1]..], &start[row..]];
            let out = &mut out[row * n..];
            row += if rest >= ROWS {
                rows::<ROWS>(here, steps, inner, right, out, n, panel)
            } else if rest >= 4 {
                rows::<4>(here, steps, inner, right, out, n, panel)
            } else if rest >= 2 {
                rows::<2>(here, steps, inner, right, out, n, panel)
            } else {
                rows::<1>(here, steps, inner, right, out, n, panel)
            };
        }
    }
}

/// The product's first `R` rows; returns their number.
#[inline(always)]
fn rows<const R: usize>(
    [left, start]: [&[f32]; 2],
    steps: [usize; 2],
    inner: usize,
    right: &[f32],
    out: &mut [f32],
    n: usize,
    panel: &mut Vec<f32>,
) -> usize {
    panel.clear();
    for p in 0..inner {
        panel.extend((0..R).map(|r| left[p * steps[0] + r * steps[1]]));
    }
    let panel = panel.as_chunks::<R>().0;
    for sample in (0..n).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; R];
        for (sums, start) in sums.iter_mut().zip(start) {
            *sums = [*start; LANES];
        }
        for (factors, right) in panel.iter().zip(right.chunks_exact(n)) {
            let Some(right) = right[sample..].first_chunk::<LANES>() else {
                break; // n is whole lanes
            };
            for (sums, factor) in sums.iter_mut().zip(factors) {
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = factor.mul_add(*right, *sum);
                }
            }
        }
        for (out, sums) in out.chunks_exact_mut(n).zip(&sums) {
            out[sample..sample + LANES].copy_from_slice(sums);
        }
    }
    R
}

wide! {
    /// `out[p][r] = sum over s of left[p][s] right[r][s]`: what a layer's weights get, `left` being its inputs.
    pub fn gradient / gradient_portable(left: &[f32], right: &[f32], n: usize, out: &mut [f32]) {
        let columns = right.len() / n;
        for (p, (left, out)) in left.chunks(TILE * n).zip(out.chunks_mut(TILE * columns)).enumerate() {
            let _ = p;
            let mut r = 0;
            while r < columns {
                let width = TILE.min(columns - r);
                let right = &right[r * n..(r + width) * n];
                if left.len() == TILE * n && width == TILE {
                    tile::<TILE, TILE>(left, right, n, &mut out[r..], columns);
                } else {
                    for (left, out) in left.chunks_exact(n).zip(out.chunks_mut(columns)) {
                        for (right, out) in right.chunks_exact(n).zip(&mut out[r..]) {
                            let mut sum = [0.0];
                            tile::<1, 1>(left, right, n, &mut sum, 1);
                            *out = sum[0];
                        }
                    }
                }
                r += width;
            }
        }
    }
}

/// `P` by `R` sums of products over all samples.
#[inline(always)]
fn tile<const P: usize, const R: usize>(
    left: &[f32],
    right: &[f32],
    n: usize,
    out: &mut [f32],
    stride: usize,
) {
    let mut sums = [[[0.0_f32; HALF]; R]; P];
    let lefts: [&[[f32; HALF]]; P] =
        std::array::from_fn(|p| left[p * n..(p + 1) * n].as_chunks().0);
    let rights: [&[[f32; HALF]]; R] =
        std::array::from_fn(|r| right[r * n..(r + 1) * n].as_chunks().0);
    for chunk in 0..n / HALF {
        for p in 0..P {
            let left = &lefts[p][chunk];
            for r in 0..R {
                let right = &rights[r][chunk];
                for lane in 0..HALF {
                    sums[p][r][lane] = left[lane].mul_add(right[lane], sums[p][r][lane]);
                }
            }
        }
    }
    for (p, sums) in sums.iter().enumerate() {
        for (out, sums) in out[p * stride..].iter_mut().zip(sums) {
            *out = total(*sums);
        }
    }
}

/// The sum of lanes, by halves.
#[inline(always)]
fn total(lanes: [f32; HALF]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

wide! {
    /// The sum of each feature's samples.
    pub fn sums / sums_portable(matrix: &[f32], n: usize, out: &mut [f32]) {
        for (out, row) in out.iter_mut().zip(matrix.chunks_exact(n)) {
            let mut lanes = [0.0; HALF];
            for chunk in row.as_chunks::<HALF>().0 {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane += value;
                }
            }
            *out = total(lanes);
        }
    }
}

/// `e^x - 1` below 88, to some units in the last place, also where it is next to nothing.
///
/// The argument is split into a multiple of ln 2 and a rest below 0.35, whose series is taken to the 7th power.
#[inline(always)]
fn exp_minus_1(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer, found in the lowest bits
    let x = x.clamp(-87.0, 88.0);
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    let r = whole.mul_add(-0.693_359_4, x);
    let r = whole.mul_add(2.121_944_4e-4, r); // ln 2 in two parts
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        sum = r.mul_add(sum, coefficient);
    }
    let small = (r * r).mul_add(sum, r);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    power.mul_add(small, power - 1.0)
}

/// `e^x`; as `exp_minus_1`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_minus_1(x) + 1.0
}

wide! {
    /// The hyperbolic tangent of each number, within 3 units in the last place.
    pub fn tanh / tanh_portable(values: &mut [f32]) {
        for value in values {
            let e = exp_minus_1(-2.0 * value.abs());
            *value = (-e / (e + 2.0)).copysign(*value);
        }
    }
}

wide! {
    /// Multiply slopes by the derivative of the hyperbolic tangent, given its values.
    pub fn times_slope_of_tanh / times_slope_of_tanh_portable(slopes: &mut [f32], values: &[f32]) {
        for (slope, value) in slopes.iter_mut().zip(values) {
            *slope *= 1.0 - value * value;
        }
    }
}

wide! {
    /// The sum of squares.
    pub fn squares / squares_portable(values: &[f32]) -> f32 {
        let mut lanes = [0.0_f32; HALF];
        let (chunks, rest) = values.as_chunks::<HALF>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = value.mul_add(*value, *lane);
            }
        }
        total(lanes) + rest.iter().map(|value| value * value).sum::<f32>()
    }
}

wide! {
    /// One step of Adam (Kingma and Ba 2015) with decay rates 0.9 and 0.999, of gradients times `scale`.
    ///
    /// `corrections` are the root of what the second mean lacks, what is added to it, and the rate.
    pub fn adam / adam_portable(
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        scale: f32,
        corrections: [f32; 3],
    ) {
        let [root, epsilon, rate] = corrections;
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((parameter, (first, second)), gradient) in parameters.iter_mut().zip(moments).zip(gradient) {
            let slope = gradient * scale;
            *first = *first * 0.9 + slope * 0.1;
            *second = *second * 0.999 + slope * slope * 0.001;
            *parameter -= *first / (second.sqrt() / root + epsilon) * rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn products_are_those_of_the_definition() {
        for (inner, rows, n) in [
            (4, 64, 64),
            (64, 2, 32),
            (64, 1, 32),
            (5, 7, 96),
            (3, 11, 32),
        ] {
            let (left, right, start) = (
                numbers(inner * rows, 1),
                numbers(inner * n, 2),
                numbers(rows, 3),
            );
            let (mut one, mut other, mut panel) =
                (vec![0.0; rows * n], vec![0.0; rows * n], vec![]);
            for steps in [[rows, 1], [1, inner]] {
                product(&left, steps, inner, &right, &start, &mut one, &mut panel);
                product_portable(&left, steps, inner, &right, &start, &mut other, &mut panel);
                assert_eq!(one, other);
                for r in 0..rows {
                    for s in 0..n {
                        let each = |p: usize| left[p * steps[0] + r * steps[1]] * right[p * n + s];
                        let wanted = start[r] + (0..inner).map(each).sum::<f32>();
                        assert!((one[r * n + s] - wanted).abs() < 1e-5);
                    }
                }
            }
            let (mut one, mut other) = (vec![0.0; inner * rows], vec![0.0; inner * rows]);
            let slopes = numbers(rows * n, 4);
            gradient(&right, &slopes, n, &mut one);
            gradient_portable(&right, &slopes, n, &mut other);
            assert_eq!(one, other);
            for p in 0..inner {
                for r in 0..rows {
                    let wanted: f32 = (0..n).map(|s| right[p * n + s] * slopes[r * n + s]).sum();
                    assert!((one[p * rows + r] - wanted).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn elementwise_functions_are_accurate_and_the_same_at_any_width() {
        let values: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 * 3e-4).collect();
        let (mut one, mut other) = (values.clone(), values.clone());
        tanh(&mut one);
        tanh_portable(&mut other);
        assert_eq!(one, other);
        for (&x, &found) in values.iter().zip(&one) {
            let wanted = f64::from(x).tanh();
            let near = 4.0 * f64::from(f32::EPSILON) * wanted.abs();
            assert!((f64::from(found) - wanted).abs() <= near, "{x}");
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (found - wanted).abs() <= 4.0 * f64::from(f32::EPSILON) * wanted.max(0.1),
                "{x}"
            );
        }
        times_slope_of_tanh(&mut one, &values);
        times_slope_of_tanh_portable(&mut other, &values);
        assert_eq!(one, other);
        assert_eq!(squares(&values), squares_portable(&values));
        let (mut one, mut other) = (vec![0.0; 3], vec![0.0; 3]);
        sums(&values[..96], 32, &mut one);
        sums_portable(&values[..96], 32, &mut other);
        assert_eq!(one, other);
    }

    #[test]
    fn adam_by_hand() {
        let (mut at, mut first, mut second) = ([1.0], [0.5], [0.25]);
        adam(
            &mut at,
            &mut first,
            &mut second,
            &[4.0],
            0.5,
            [1.0, 0.0, 0.1],
        );
        assert!((first[0] - 0.65).abs() < 1e-6 && (second[0] - 0.25375).abs() < 1e-6);
        assert!((at[0] - (1.0 - 0.1 * 0.65 / 0.25375_f32.sqrt())).abs() < 1e-6);
        let (mut wide, mut plain) = (numbers(100, 5), numbers(100, 5));
        let (mut moments, slopes) = ([[0.1; 100]; 4], numbers(100, 6));
        let [a, b, c, d] = &mut moments;
        adam(&mut wide, a, b, &slopes, 0.3, [0.9, 1e-5, 0.01]);
        adam_portable(&mut plain, c, d, &slopes, 0.3, [0.9, 1e-5, 0.01]);
        assert_eq!(
            (wide, moments[0], moments[1]),
            (plain, moments[2], moments[3])
        );
    }
}
