//! The 1-bit code of a row: signs of the centred row, and two factors that turn them into an estimate.
//!
//! For a row x, a centre c and r = x - c, the dot product of a query q with r is estimated by
//! `|r|^2 / |r|_1 * <sign(r), q - c> + <r, c>`, which is RaBitQ's estimator (Gao and Long, SIGMOD 2024) without the
//! rotation. Multiplied out, it is `slope * <sign(r), q> + offset`, so that one table serves all centres.

use crate::kernels::sum16;

/// Slope and offset of a row's estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Of the dot product of query and signs.
    pub slope: f32,
    /// Added to it, and to the dot product of query and centre.
    pub offset: f32,
}

/// Write the signs of `row - centre`, eight dimensions a byte, and return the factors.
#[inline(always)]
pub fn encode(row: &[f32], centre: &[f32], signs: &mut [u8]) -> Factors {
    let (mut square, mut size) = ([0f32; 16], [0f32; 16]);
    let (mut along, mut signed) = ([0f32; 16], [0f32; 16]);
    for (part, (x, c)) in row
        .chunks_exact(16)
        .zip(centre.chunks_exact(16))
        .enumerate()
    {
        let mut r = [0f32; 16];
        for i in 0..16 {
            r[i] = x[i] - c[i];
            square[i] += r[i] * r[i];
            size[i] += r[i].abs();
            along[i] += r[i] * c[i];
            signed[i] += if r[i] >= 0.0 { c[i] } else { -c[i] };
        }
        let mut bits = 0u16;
        for (i, value) in r.iter().enumerate() {
            bits |= u16::from(*value >= 0.0) << i;
        }
        signs[2 * part..2 * part + 2].copy_from_slice(&bits.to_le_bytes());
    }
    let size = sum16(&size);
    let slope = if size > 0.0 {
        sum16(&square) / size
    } else {
        0.0
    };
    Factors {
        slope,
        offset: sum16(&along) - slope * sum16(&signed),
    }
}
