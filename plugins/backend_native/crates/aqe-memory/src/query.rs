//! A query, prepared for every stage of a search.

use crate::buffer::Buffer;
use crate::kernels::{
    Lookup, MAX_ENTRY, dot, extent, groups, rounded, table_bytes, tabulate, vectorized,
};
use crate::level::Level;

/// A query as table, as two bytes a dimension, and as floats.
#[derive(Default)]
pub struct Query {
    /// The query, of unit length under cosine, padded with zeros.
    pub floats: Vec<f32>,
    /// What the signs of a row's code contribute to a dot product; see [`Lookup`].
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
    /// Prepare for a query that stands in `floats`, of unit length or not.
    pub fn prepare(&mut self, level: Level, is_unit: bool) {
        self.prepare_scores(level, is_unit);
        self.prepare_scans(level);
    }

    /// What scans need besides.
    pub fn prepare_scans(&mut self, level: Level) {
        self.table.resize(table_bytes(level, self.floats.len()));
        vectorized(
            level,
            #[inline(always)]
            || self.tabulate(level),
        );
    }

    /// The same for scores only, not for scans.
    pub fn prepare_scores(&mut self, level: Level, is_unit: bool) {
        let width = self.floats.len();
        self.square = 1.0;
        if !is_unit {
            let parts = self.floats.chunks_exact(128);
            self.square = parts.map(|part| f64::from(dot(level, part, part))).sum();
        }
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
            bytes: self.floats.len() / 8,
            step: self.step,
            shift: self.shift,
        }
    }

    #[inline(always)]
    fn split(&mut self, level: Level) {
        let [low, high] = extent(level, &self.floats);
        let largest = high.max(-low).max(f32::MIN_POSITIVE);
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
        let [largest, total] = groups(level, &self.floats);
        let largest = largest.max(f32::MIN_POSITIVE);
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
