//! A query, prepared for every stage of a search.

use crate::buffer::Buffer;
use crate::kernels::{Lookup, MAX_ENTRY, TABLE, dot, max16, rounded, sum16, tabulate, vectorized};
use crate::level::Level;

/// A query as table, as two bytes a dimension, and as floats.
#[derive(Default)]
pub struct Query {
    /// The query, of unit length under cosine, padded with zeros.
    pub floats: Vec<f32>,
    /// What the signs of a row's code contribute to a dot product, 16 entries for each 4 dimensions; see [`Lookup`].
    pub table: Buffer,
    /// The dot product of query and signs is `sum * step + shift`.
    pub step: f32,
    /// See `step`.
    pub shift: f32,
    /// The upper bytes of the query as 16-bit integers.
    pub high: Vec<i8>,
    /// The lower bytes: the query is about `(256 high + low) * unit`.
    pub low: Vec<i8>,
    /// The upper bytes plus 128.
    pub unsigned: Vec<u8>,
    /// See `low`.
    pub unit: f32,
    /// Sum of the upper bytes.
    pub sum_high: i32,
    /// Sum of the 16-bit integers.
    pub sum: i64,
    /// Squared length of `floats`.
    pub square: f64,
    units: Vec<i32>,
}

impl Query {
    /// Prepare for a query that stands in `floats`.
    pub fn prepare(&mut self, level: Level) {
        self.prepare_scores(level);
        let width = self.floats.len();
        self.table.resize(width / 16 * TABLE);
        vectorized(
            level,
            #[inline(always)]
            || self.tabulate(level),
        );
    }

    /// The same for scores only, not for scans.
    pub fn prepare_scores(&mut self, level: Level) {
        let width = self.floats.len();
        self.units.resize(width, 0);
        self.high.resize(width, 0);
        self.low.resize(width, 0);
        self.unsigned.resize(width, 0);
        vectorized(
            level,
            #[inline(always)]
            || self.split(level),
        );
    }

    /// What scanning needs.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            table: self.table.get(),
            step: self.step,
            shift: self.shift,
        }
    }

    #[inline(always)]
    fn split(&mut self, level: Level) {
        let mut largest = [0f32; 16];
        let mut squares = 0.0;
        for part in self.floats.chunks_exact(16) {
            for (most, x) in largest.iter_mut().zip(part) {
                let size = x.abs();
                *most = if size > *most { size } else { *most };
            }
        }
        for part in self.floats.chunks_exact(128) {
            squares += f64::from(dot(level, part, part));
        }
        self.square = squares;
        let largest = max16(&largest, f32::MIN_POSITIVE);
        self.unit = largest / 32000.0;
        let inverse = 32000.0 / largest;
        let (mut sum, mut sum_high) = (0i32, 0i32);
        for (value, x) in self.units.iter_mut().zip(&self.floats) {
            *value = rounded(x * inverse);
            sum += *value;
            sum_high += (*value + 128) >> 8;
        }
        let parts = self
            .high
            .iter_mut()
            .zip(&mut self.low)
            .zip(&mut self.unsigned);
        for (((high, low), unsigned), &value) in parts.zip(&self.units) {
            let upper = (value + 128) >> 8;
            *high = upper as i8;
            *low = (value - (upper << 8)) as i8;
            *unsigned = (upper + 128) as u8;
        }
        self.sum = i64::from(sum);
        self.sum_high = sum_high;
    }

    /// Fill the table of the query in units of half a step, rounded: query * signs = step * sum(entries) + shift.
    #[inline(always)]
    fn tabulate(&mut self, level: Level) {
        let mut sizes = [0f32; 16];
        let mut sums = [0f32; 16];
        for part in self.floats.chunks_exact(64) {
            for i in 0..16 {
                let group = &part[4 * i..4 * i + 4];
                let size = (group[0].abs() + group[1].abs()) + (group[2].abs() + group[3].abs());
                sizes[i] = if size > sizes[i] { size } else { sizes[i] };
                sums[i] += (group[0] + group[1]) + (group[2] + group[3]);
            }
        }
        let (largest, total) = (max16(&sizes, f32::MIN_POSITIVE), sum16(&sums));
        // Four roundings of a half each: two less than the largest entry.
        let scale = (MAX_ENTRY - 2.0) / largest;
        for (value, x) in self.units.iter_mut().zip(&self.floats) {
            *value = rounded(x * scale);
        }
        let lowest = tabulate(level, &self.units, self.table.get_mut());
        self.step = 2.0 / scale;
        self.shift = -(lowest as f32) * self.step - total;
    }
}
