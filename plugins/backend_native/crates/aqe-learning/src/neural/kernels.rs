//! Elementwise functions and sums, in float32.

use super::products::total;
use crate::wide::wide;

const HALF: usize = 16;

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
