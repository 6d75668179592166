//! Vectors as short codes, and scores estimated from them: the schemes of `aqe_core.contracts.quantizer`.
//!
//! Codes are those of the NumPy backend. Of `float16` and `int8` they are equal bit for bit, and so are the signs of
//! `binary`; its factors are sums in float64 here as there, in another order, rounded to float32.

use crate::Metric;
use crate::kernels::{dot, rounded, vectorized};
use crate::level::Level;

/// Parts of a group that a product code can name.
pub const PARTS: usize = 256;

/// A scheme and what it learned.
#[derive(Clone, Copy, Debug)]
pub enum Scheme<'a> {
    /// Half precision.
    Float16,
    /// A signed byte a dimension around the mean, and a scale.
    Int8 {
        /// Subtracted first.
        mean: &'a [f32],
    },
    /// A bit a dimension around the mean, and two factors.
    Binary {
        /// Subtracted first.
        mean: &'a [f32],
    },
    /// A byte for each group of dimensions.
    Product {
        /// Up to 256 rows, of which each group has its columns.
        parts: &'a [f32],
        /// Where groups begin, ascending, and last the number of dimensions.
        bounds: &'a [usize],
    },
}

/// A scheme for vectors of some length.
#[derive(Clone, Copy, Debug)]
pub struct Quantizer<'a> {
    /// What is done.
    pub scheme: Scheme<'a>,
    /// Dimensions.
    pub dim: usize,
    /// What a score is.
    pub metric: Metric,
    /// Instructions to use.
    pub level: Level,
}

impl Quantizer<'_> {
    /// Bytes of a code.
    pub fn code_bytes(&self) -> usize {
        match self.scheme {
            Scheme::Float16 => 2 * self.dim,
            Scheme::Int8 { .. } => self.dim + 4,
            Scheme::Binary { .. } => self.dim.div_ceil(8) + 8,
            Scheme::Product { bounds, .. } => bounds.len() - 1,
        }
    }

    /// Write the codes of rows; false if a row cannot be held. Not of `Product`, for which it is false always: the
    /// nearest parts are found faster by products of large matrices.
    pub fn encode(&self, rows: &[f32], codes: &mut [u8]) -> bool {
        let mut scratch = vec![0f32; self.dim];
        let codes = codes.chunks_exact_mut(self.code_bytes());
        let mut good = true;
        for (row, code) in rows.chunks_exact(self.dim).zip(codes) {
            good &= vectorized(
                self.level,
                #[inline(always)]
                || match self.scheme {
                    Scheme::Float16 => encode_half(row, code),
                    Scheme::Int8 { mean } => encode_int8(row, mean, &mut scratch, code),
                    Scheme::Binary { mean } => {
                        encode_binary(row, mean, self.metric == Metric::L2, code)
                    }
                    Scheme::Product { .. } => false,
                },
            );
        }
        good
    }

    /// Write rows near those that were encoded; false if a code is damaged.
    pub fn decode(&self, codes: &[u8], rows: &mut [f32]) -> bool {
        let codes = codes.chunks_exact(self.code_bytes());
        let mut good = true;
        for (code, row) in codes.zip(rows.chunks_exact_mut(self.dim)) {
            good &= self.decode_one(code, row);
        }
        good
    }

    fn decode_one(&self, code: &[u8], row: &mut [f32]) -> bool {
        vectorized(
            self.level,
            #[inline(always)]
            || match self.scheme {
                Scheme::Float16 => decode_half(code, row),
                Scheme::Int8 { mean } => decode_int8(code, mean, row),
                Scheme::Binary { mean } => decode_binary(code, mean, row),
                Scheme::Product { parts, bounds } => {
                    let known = parts.len() / self.dim;
                    for (&part, run) in code.iter().zip(bounds.windows(2)) {
                        if usize::from(part) >= known {
                            return false;
                        }
                        let run = run[0]..run[1];
                        let part = &parts[usize::from(part) * self.dim..][..self.dim];
                        row[run.clone()].copy_from_slice(&part[run]);
                    }
                    true
                }
            },
        )
    }

    /// Estimate the scores of codes for each query, into a row of `out` for each; false if a code is damaged.
    pub fn scores(&self, queries: &[f32], codes: &[u8], out: &mut [f32]) -> bool {
        let count = codes.len() / self.code_bytes();
        let squares: Vec<f32> = queries
            .chunks_exact(self.dim)
            .map(|query| dot(self.level, query, query))
            .collect();
        match self.scheme {
            Scheme::Float16 | Scheme::Int8 { .. } => {
                self.score_decoded(queries, &squares, codes, out)
            }
            Scheme::Binary { mean } => {
                let mut good = true;
                let each = queries.chunks_exact(self.dim).zip(&squares);
                for ((query, square), out) in each.zip(out.chunks_exact_mut(count.max(1))) {
                    let base = dot(self.level, query, mean);
                    good &= self.score_signs(query, (base, *square), codes, out);
                }
                good
            }
            Scheme::Product { parts, .. } => {
                let tables = self.by_dimension();
                let known = parts.len() / self.dim;
                if codes.iter().any(|&code| usize::from(code) >= known) {
                    return false;
                }
                let each = queries.chunks_exact(self.dim);
                for (query, out) in each.zip(out.chunks_exact_mut(count.max(1))) {
                    self.score_parts(query, &tables, codes, out);
                }
                true
            }
        }
    }

    /// Scores of decoded vectors.
    fn score_decoded(
        &self,
        queries: &[f32],
        squares: &[f32],
        codes: &[u8],
        out: &mut [f32],
    ) -> bool {
        let (bytes, l2) = (self.code_bytes(), self.metric == Metric::L2);
        let count = codes.len() / bytes;
        let mut row = vec![0f32; self.dim];
        let mut good = true;
        for (i, code) in codes.chunks_exact(bytes).enumerate() {
            good &= self.decode_one(code, &mut row);
            let less = if l2 { dot(self.level, &row, &row) } else { 0.0 };
            for (m, query) in queries.chunks_exact(self.dim).enumerate() {
                let value = dot(self.level, query, &row);
                out[m * count + i] = if l2 {
                    (2.0 * value - less - squares[m]).min(0.0)
                } else {
                    value
                };
            }
        }
        good
    }

    /// Scores by signs: a table of 256 sums for each byte of them.
    fn score_signs(
        &self,
        query: &[f32],
        (base, square): (f32, f32),
        codes: &[u8],
        out: &mut [f32],
    ) -> bool {
        let mut table = vec![0f32; self.dim.div_ceil(8) * 256];
        for (group, sums) in query.chunks(8).zip(table.chunks_exact_mut(256)) {
            sums[0] = -group.iter().sum::<f32>();
            // Bits beyond the last dimension add nothing.
            let beyond = std::iter::repeat_n(&0f32, 8 - group.len());
            for (bit, &x) in group.iter().chain(beyond).enumerate() {
                let (low, high) = sums.split_at_mut(1 << bit);
                for (sum, less) in high.iter_mut().zip(low) {
                    *sum = *less + 2.0 * x;
                }
            }
        }
        let mut good = true;
        let bytes = self.dim.div_ceil(8);
        for (code, out) in codes.chunks_exact(bytes + 8).zip(out) {
            let (signs, factors) = code.split_at(bytes);
            let mut sums = [0f32; 4];
            for (part, tables) in signs.chunks(4).zip(table.chunks(4 * 256)) {
                for (i, (&sign, table)) in part.iter().zip(tables.chunks_exact(256)).enumerate() {
                    sums[i] += table[usize::from(sign)];
                }
            }
            let (slope, offset) = (f32_of(&factors[..4]), f32_of(&factors[4..]));
            good &= slope.is_finite() && offset.is_finite();
            let signed = (sums[0] + sums[1]) + (sums[2] + sums[3]);
            let value = signed * slope + offset + base;
            *out = if self.metric == Metric::L2 {
                (2.0 * value - square).min(0.0)
            } else {
                value
            };
        }
        good
    }

    /// Scores by groups: a table of what each part contributes.
    fn score_parts(&self, query: &[f32], tables: &Groups, codes: &[u8], out: &mut [f32]) {
        let groups = self.code_bytes();
        let mut table = vec![0f32; groups * PARTS];
        let l2 = self.metric == Metric::L2;
        for (g, sums) in table.chunks_exact_mut(PARTS).enumerate() {
            let run = tables.bounds[g]..tables.bounds[g + 1];
            let columns = &tables.columns[run.start * PARTS..run.end * PARTS];
            vectorized(
                self.level,
                #[inline(always)]
                || {
                    for (x, column) in query[run].iter().zip(columns.chunks_exact(PARTS)) {
                        for (sum, part) in sums.iter_mut().zip(column) {
                            *sum += if l2 {
                                -(x - part) * (x - part)
                            } else {
                                x * part
                            };
                        }
                    }
                },
            );
        }
        for (code, out) in codes.chunks_exact(groups).zip(out) {
            let parts = code.iter().zip(table.chunks_exact(PARTS));
            *out = parts.fold(0.0, |sum, (&part, table)| sum + table[usize::from(part)]);
        }
    }

    /// The parts of a product quantizer by dimension, as encoding reads them; empty for other schemes.
    fn by_dimension(&self) -> Groups {
        let mut out = Groups::default();
        let Scheme::Product { parts, bounds } = self.scheme else {
            return out;
        };
        let rows: Vec<&[f32]> = parts.chunks_exact(self.dim).collect();
        out.bounds = bounds.to_vec();
        out.columns = vec![0.0; self.dim * PARTS];
        for (part, row) in rows.iter().enumerate() {
            for (d, &x) in row.iter().enumerate() {
                out.columns[d * PARTS + part] = x;
            }
        }
        out
    }
}

/// The parts of a product quantizer, transposed.
#[derive(Default)]
struct Groups {
    bounds: Vec<usize>,
    /// For each dimension that of all parts.
    columns: Vec<f32>,
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

#[inline(always)]
fn encode_half(row: &[f32], code: &mut [u8]) -> bool {
    let mut most = 0u16;
    for (x, out) in row.iter().zip(code.chunks_exact_mut(2)) {
        let half = half_of(*x);
        let size = half & 0x7fff;
        most = if size > most { size } else { most };
        out.copy_from_slice(&half.to_le_bytes());
    }
    most < 0x7c00
}

/// The nearest half, halves to even; without branches, so that it is compiled to vectors.
#[inline(always)]
fn half_of(x: f32) -> u16 {
    const LEAST: u32 = 113 << 23; // the least normal half
    const MAGIC: u32 = 126 << 23; // beyond it the spacing of floats is that of small halves
    let (bits, sign) = (
        x.to_bits() & 0x7fff_ffff,
        (x.to_bits() >> 16) as u16 & 0x8000,
    );
    let small = (f32::from_bits(bits) + f32::from_bits(MAGIC))
        .to_bits()
        .wrapping_sub(MAGIC);
    let odd = (bits >> 13) & 1;
    let normal = bits.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let value = if bits < LEAST { small } else { normal };
    let value = if bits >= 0x4780_0000 || value > 0x7c00 {
        0x7c00
    } else {
        value
    };
    sign | value as u16
}

#[inline(always)]
fn decode_half(code: &[u8], row: &mut [f32]) -> bool {
    let mut most = 0u16;
    for (bytes, out) in code.chunks_exact(2).zip(row) {
        let half = u16::from_le_bytes([bytes[0], bytes[1]]);
        let size = half & 0x7fff;
        most = if size > most { size } else { most };
        // 2^112 brings the exponent from one bias to the other, of the smallest ones too.
        let value = f32::from_bits(u32::from(size) << 13) * f32::from_bits(239 << 23);
        *out = f32::from_bits(value.to_bits() | u32::from(half & 0x8000) << 16);
    }
    most < 0x7c00
}

#[inline(always)]
fn encode_int8(row: &[f32], mean: &[f32], centred: &mut [f32], code: &mut [u8]) -> bool {
    let centred = &mut centred[..row.len()];
    let mut largest = 0f32;
    for ((out, x), m) in centred.iter_mut().zip(row).zip(mean) {
        *out = x - m;
        let size = out.abs();
        largest = if size > largest { size } else { largest };
    }
    let far = largest > 127.0 * f32::MIN_POSITIVE;
    let inverse = if far { 127.0 / largest } else { 0.0 };
    let (integers, scale) = code.split_at_mut(row.len());
    for (out, x) in integers.iter_mut().zip(centred) {
        *out = rounded(*x * inverse) as u8;
    }
    let step = if far { largest / 127.0 } else { 0.0 };
    scale.copy_from_slice(&step.to_le_bytes());
    largest.is_finite()
}

#[inline(always)]
fn decode_int8(code: &[u8], mean: &[f32], row: &mut [f32]) -> bool {
    let (integers, scale) = code.split_at(row.len());
    let scale = f32_of(scale);
    for ((out, m), &integer) in row.iter_mut().zip(mean).zip(integers) {
        *out = m + scale * f32::from(integer as i8);
    }
    scale.is_finite()
}

#[inline(always)]
fn encode_binary(row: &[f32], mean: &[f32], l2: bool, code: &mut [u8]) -> bool {
    let (signs, factors) = code.split_at_mut(row.len().div_ceil(8));
    // Sums of r * r, |r|, r * mean, sign(r) * mean and x * x, in parts.
    let mut sums = [[0f64; 8]; 5];
    for ((xs, ms), byte) in row.chunks(8).zip(mean.chunks(8)).zip(signs) {
        *byte = 0;
        for (i, (&x, &m)) in xs.iter().zip(ms).enumerate() {
            let (x, m) = (f64::from(x), f64::from(m));
            let r = x - m;
            *byte |= u8::from(r >= 0.0) << i;
            sums[0][i] += r * r;
            sums[1][i] += r.abs();
            sums[2][i] += r * m;
            sums[3][i] += if r >= 0.0 { m } else { -m };
            sums[4][i] += x * x;
        }
    }
    let [square, size, along, signed, whole] = sums.map(|parts| parts.iter().sum::<f64>());
    let slope = if size > 0.0 { square / size } else { 0.0 };
    let less = if l2 { 0.5 * whole } else { 0.0 };
    let (slope, offset) = (slope as f32, (along - slope * signed - less) as f32);
    factors[..4].copy_from_slice(&slope.to_le_bytes());
    factors[4..].copy_from_slice(&offset.to_le_bytes());
    slope.is_finite() && offset.is_finite()
}

#[inline(always)]
fn decode_binary(code: &[u8], mean: &[f32], row: &mut [f32]) -> bool {
    let (signs, factors) = code.split_at(row.len().div_ceil(8));
    let (slope, offset) = (f32_of(&factors[..4]), f32_of(&factors[4..]));
    let step = std::f32::consts::FRAC_2_PI * slope;
    for ((out, mean), &byte) in row.chunks_mut(8).zip(mean.chunks(8)).zip(signs) {
        for (i, (out, m)) in out.iter_mut().zip(mean).enumerate() {
            let minus = (u32::from(!byte) >> i & 1) << 31;
            *out = m + f32::from_bits(step.to_bits() ^ minus);
        }
    }
    slope.is_finite() && offset.is_finite()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of<'a>(scheme: Scheme<'a>, dim: usize, metric: Metric) -> Quantizer<'a> {
        Quantizer {
            scheme,
            dim,
            metric,
            level: Level::best(),
        }
    }

    #[test]
    fn halves_are_the_nearest_ones() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            let mut back = [0f32];
            assert_eq!(
                decode_half(&bits.to_le_bytes(), &mut back),
                half.is_finite()
            );
            if half.is_finite() {
                assert_eq!(back[0].to_bits(), half.to_f32().to_bits());
                for near in [-3i32, -1, 0, 1, 3] {
                    let x = f32::from_bits(back[0].to_bits().wrapping_add_signed(near));
                    let ulps = f32::from_bits(back[0].to_bits().wrapping_add_signed(near * 0x555));
                    for x in [x, ulps].into_iter().filter(|x| x.is_finite()) {
                        assert_eq!(half_of(x), half::f16::from_f32(x).to_bits(), "{x}");
                    }
                }
            }
        }
        assert_eq!(half_of(65519.99), 0x7bff);
        assert_eq!(half_of(65520.0), 0x7c00);
        assert_eq!(half_of(f32::MAX), 0x7c00);
    }

    proptest! {
        /// Codes of any bytes are decoded or refused, alike at every level, and scored as their vectors are.
        #[test]
        fn any_bytes_are_scored_as_decoded(
            dim in 1usize..40,
            metric in prop::sample::select(vec![Metric::Dot, Metric::L2]),
            which in 0..4,
            bytes in prop::collection::vec(any::<u8>(), 3 * 80),
            numbers in prop::collection::vec(-2f32..2.0, 40 * 12),
        ) {
            let bounds: Vec<usize> = (0..dim).step_by(3).chain([dim]).collect();
            let scheme = match which {
                0 => Scheme::Float16,
                1 => Scheme::Int8 { mean: &numbers[..dim] },
                2 => Scheme::Binary { mean: &numbers[..dim] },
                _ => Scheme::Product { parts: &numbers[..10 * dim], bounds: &bounds },
            };
            let quantizer = of(scheme, dim, metric);
            let size = quantizer.code_bytes();
            let codes = &bytes[..3 * size];
            let query = &numbers[numbers.len() - dim..];
            let all: Vec<_> = Level::supported().into_iter().map(|level| {
                let quantizer = Quantizer { level, ..quantizer };
                let (mut rows, mut scores) = (vec![0f32; 3 * dim], vec![0f32; 3]);
                let good = [quantizer.decode(codes, &mut rows), quantizer.scores(query, codes, &mut scores)];
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (good, good[0].then(|| (bits(&rows), bits(&scores))), rows, scores)
            }).collect();
            prop_assert!(all.iter().all(|each| (each.0, &each.1) == (all[0].0, &all[0].1)));
            let ([decoded, scored], _, rows, scores) = &all[0];
            prop_assert_eq!(decoded, scored);
            if *decoded && which != 2 {
                for (row, &score) in rows.chunks_exact(dim).zip(scores) {
                    let pairs = || query.iter().zip(row).map(|(&q, &x)| (f64::from(q), f64::from(x)));
                    let wanted: f64 = match metric {
                        Metric::L2 => -pairs().map(|(q, x)| (q - x) * (q - x)).sum::<f64>(),
                        _ => pairs().map(|(q, x)| q * x).sum(),
                    };
                    let scale: f64 = pairs().map(|(q, x)| q * q + x * x).sum();
                    let off = (f64::from(score) - wanted).abs();
                    prop_assert!(off <= 1e-5 * scale || scale > 1e30, "{score} {wanted}");
                }
            }
        }

        /// What is encoded is decoded to within a step.
        #[test]
        fn rows_come_back(rows in prop::collection::vec(-100f32..100.0, 3 * 21), mean in prop::collection::vec(-1f32..1.0, 21)) {
            for scheme in [Scheme::Float16, Scheme::Int8 { mean: &mean }] {
                let quantizer = of(scheme, 21, Metric::Dot);
                let (mut codes, mut back) = (vec![0; 3 * quantizer.code_bytes()], vec![0f32; 63]);
                prop_assert!(quantizer.encode(&rows, &mut codes) && quantizer.decode(&codes, &mut back));
                prop_assert!(rows.iter().zip(&back).all(|(x, y)| (x - y).abs() <= 0.41));
            }
        }

    }
}
