//! Rows as 10-bit integers with a scale for each row, in planes of 4, 4 and 2 bits.
//!
//! A centred row r is kept as w in 0 .. 1023 with r = scale * (w - 512). The first plane alone ranks candidates
//! (half a byte a dimension); all three score those that are left.

use crate::kernels::{dot4, dot4_of_four, dot10, max16, rounded};
use crate::level::Level;
use crate::query::Query;

/// Dimensions that are packed together; rows are padded to a multiple of it.
pub const GROUP: usize = 128;

/// The zero of the integers.
pub const ZERO: i32 = 512;

/// Encode a centred row. `a` takes half a byte a dimension, `rest` half a byte and a quarter. Return the scale.
#[inline(always)]
pub fn encode(centred: &[f32], a: &mut [u8], rest: &mut [u8]) -> f32 {
    let mut largest = [0f32; 16];
    for part in centred.chunks_exact(16) {
        for i in 0..16 {
            let size = part[i].abs();
            largest[i] = if size > largest[i] { size } else { largest[i] };
        }
    }
    encode_within(centred, max16(&largest, 0.0), a, rest)
}

/// The same of a row whose largest magnitude is known.
#[inline(always)]
pub fn encode_within(centred: &[f32], largest: f32, a: &mut [u8], rest: &mut [u8]) -> f32 {
    let (scale, inverse) = if largest > 511.0 * f32::MIN_POSITIVE {
        (largest / 511.0, 511.0 / largest)
    } else {
        (0.0, 0.0)
    };
    let (b, c) = rest.split_at_mut(centred.len() / 2);
    for (part, values) in centred.chunks_exact(GROUP).enumerate() {
        let mut w = [0u16; GROUP];
        for i in 0..GROUP {
            w[i] = (rounded(values[i] * inverse) + ZERO) as u16;
        }
        let (a, b, c) = (
            &mut a[64 * part..][..64],
            &mut b[64 * part..][..64],
            &mut c[32 * part..][..32],
        );
        for i in 0..64 {
            a[i] = (w[i] >> 6 | (w[64 + i] >> 6) << 4) as u8;
            b[i] = (w[i] >> 2 & 15 | (w[64 + i] >> 2 & 15) << 4) as u8;
        }
        for i in 0..32 {
            c[i] = (w[i] & 3 | (w[32 + i] & 3) << 2 | (w[64 + i] & 3) << 4 | (w[96 + i] & 3) << 6)
                as u8;
        }
    }
    scale
}

/// The integers of a row, 0 .. 1023.
#[inline(always)]
pub fn integers(a: &[u8], rest: &[u8], out: &mut [u16]) {
    let (b, c) = rest.split_at(a.len());
    for (part, w) in out.chunks_exact_mut(GROUP).enumerate() {
        let (a, b, c) = (
            &a[64 * part..][..64],
            &b[64 * part..][..64],
            &c[32 * part..][..32],
        );
        let joined = |a: u8, b: u8, c: u8| u16::from(a) << 6 | u16::from(b) << 2 | u16::from(c);
        // Shifts by constants only: the compiler makes vectors of it.
        for i in 0..32 {
            let (j, c) = (32 + i, c[i]);
            w[i] = joined(a[i] & 15, b[i] & 15, c & 3);
            w[j] = joined(a[j] & 15, b[j] & 15, c >> 2 & 3);
            w[64 + i] = joined(a[i] >> 4, b[i] >> 4, c >> 4 & 3);
            w[64 + j] = joined(a[j] >> 4, b[j] >> 4, c >> 6);
        }
    }
}

/// The dot product of a query and a centred row, by the first plane.
#[inline]
pub fn rough_dot(level: Level, query: &Query, a: &[u8], scale: f32) -> f32 {
    let other = (&*query.high, query.sum_high, 256.0 * query.unit);
    rough(level, other, a, scale)
}

/// The dot product of a centred row, by the first plane, and of signed bytes with their sum and their unit.
#[inline]
pub fn rough(level: Level, (bytes, sum, unit): (&[i8], i32, f32), a: &[u8], scale: f32) -> f32 {
    scaled(dot4(level, a, bytes), sum, unit, scale)
}

/// The dot products of a query and four centred rows, by the first plane.
#[inline]
pub fn rough_dots(level: Level, query: &Query, a: [&[u8]; 4], scales: [f32; 4]) -> [f32; 4] {
    let dots = dot4_of_four(level, a, &query.high);
    let unit = 256.0 * query.unit;
    std::array::from_fn(|i| scaled(dots[i], query.sum_high, unit, scales[i]))
}

#[inline]
fn scaled(dot: i32, sum: i32, unit: f32, scale: f32) -> f32 {
    // The missing bits are taken at the middle of their range, 31.5.
    let dot = 64.0 * dot as f32 - (ZERO as f32 - 31.5) * sum as f32;
    scale * (unit * dot)
}

/// The dot product of a query and a centred row, by all planes.
#[inline]
pub fn dot(level: Level, query: &Query, a: &[u8], rest: &[u8], scale: f32) -> f64 {
    let (b, c) = rest.split_at(a.len());
    let [high, low] = dot10(level, a, b, c, [&query.high, &query.low]);
    let sum = 256 * i64::from(high) + i64::from(low);
    f64::from(scale) * f64::from(query.unit) * (sum - i64::from(ZERO) * query.sum) as f64
}
