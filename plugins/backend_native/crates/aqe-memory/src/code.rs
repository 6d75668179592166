//! The 1-bit code of a row: signs of the centred row, and two factors that turn them into an estimate.
//!
//! For a row x, a centre c and r = x - c, the dot product of a query q with r is estimated by
//! `|r|^2 / |r|_1 * <sign(r), q - c> + <r, c>`, which is RaBitQ's estimator (Gao and Long, SIGMOD 2024) without the
//! rotation. Multiplied out, it is `slope * <sign(r), q> + offset`, so that one table serves all centres.

use crate::kernels;
use crate::level::Level;

/// Slope and offset of a row's estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Of the dot product of query and signs.
    pub slope: f32,
    /// Added to it, and to the dot product of query and centre.
    pub offset: f32,
}

/// Write the signs of `row - centre`, eight dimensions a byte, and return the factors. Lengths are multiples of 16.
pub fn encode(level: Level, row: &[f32], centre: &[f32], signs: &mut [u8]) -> Factors {
    factors(kernels::signs(level, row, centre, signs))
}

/// The factors, from the sums of [`kernels::signs`].
pub fn factors([square, size, along, signed]: [f32; 4]) -> Factors {
    let slope = if size > 0.0 { square / size } else { 0.0 };
    Factors {
        slope,
        offset: along - slope * signed,
    }
}
