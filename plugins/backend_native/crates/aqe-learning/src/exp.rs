//! The exponential, written so that a loop over it compiles to vector instructions.

use std::f64::consts::LOG2_E;

// ln 2 in two parts: the first has so few bits that its products with small integers are exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds to an integer, found in the lowest bits
const LARGEST: f64 = 708.0;

/// `e^x`, within a unit in the last place; beyond 708 either way it is that of 708 (3e307 and 3e-308).
///
/// The argument is split into a multiple of ln 2 and a rest below 0.35, whose series is taken to the 13th power.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-LARGEST, LARGEST);
    let rounded = x * LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut sum = 1.0 / 6_227_020_800.0;
    for coefficient in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ] {
        sum = sum * r + coefficient;
    }
    let sum = 1.0 + (r + r * r * sum);
    sum * f64::from_bits((rounded.to_bits() << 52).wrapping_add(1.0_f64.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_exponential() {
        for i in (-70_800..=70_800).step_by(if cfg!(miri) { 997 } else { 1 }) {
            let x = f64::from(i) * 0.01;
            let (found, wanted) = (exp(x), x.exp());
            assert!((found - wanted).abs() <= 1.5 * f64::EPSILON * wanted, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), exp(-708.0));
        assert!(exp(-1e9) > 0.0 && exp(1e9).is_finite());
    }
}
