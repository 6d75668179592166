//! What is kept of each row: planes, scale, key, the lists it is in, and the original where wanted.

mod originals;
pub(crate) mod saved;
mod table;

use crate::append::Encoded;
use crate::buffer::Buffer;
use crate::kernels::{dot, prefetch, sum16, vectorized};
use crate::keys::KeyMap;
use crate::level::Level;
use crate::planes;
use crate::query::Query;
use crate::{Keep, Metric};

pub(crate) use originals::{Originals, Place};
pub(crate) use table::{GRANULE, Table};

/// No list.
pub const NOWHERE: u32 = u32::MAX;

/// All rows of a store, by number. Numbers of removed rows are used again.
pub struct Rows {
    /// Dimensions, padded.
    pub width: usize,
    /// Subtracted before rows are encoded.
    pub mean: Vec<f32>,
    /// The key of each row.
    pub keys: Vec<u64>,
    /// The one or two lists that a row is in; `NOWHERE` twice for a number that is free.
    pub places: Vec<[u32; 2]>,
    /// From keys to numbers.
    pub map: KeyMap,
    level: Level,
    metric: Metric,
    dim: usize,
    a: Table,
    rest: Table,
    scales: Vec<f32>,
    half_squares: Vec<f32>,
    originals: Originals,
    free: Vec<u32>,
}

/// Rows that were encoded and have no numbers yet.
pub(crate) struct Fresh {
    /// First planes, and what is more, in whole granules.
    pub a: Buffer,
    /// See `a`.
    pub rest: Buffer,
    /// Of the planes.
    pub scales: Vec<f32>,
    /// Half the squared lengths under l2, else none.
    pub half_squares: Vec<f32>,
    /// In whole granules.
    pub originals: Originals,
}

impl Rows {
    /// No rows yet.
    pub fn new(dim: usize, metric: Metric, keep: Keep, level: Level) -> Rows {
        let width = dim.div_ceil(planes::GROUP) * planes::GROUP;
        Rows {
            width,
            mean: vec![0.0; width],
            keys: Vec::new(),
            places: Vec::new(),
            map: KeyMap::default(),
            level,
            metric,
            dim,
            a: Table::new(width / 2),
            rest: Table::new(width * 3 / 4),
            scales: Vec::new(),
            half_squares: Vec::new(),
            originals: Originals::new(keep),
            free: Vec::new(),
        }
    }

    /// How many rows there are.
    pub fn alive(&self) -> usize {
        self.map.len()
    }

    /// One more than the largest number in use.
    pub fn numbers(&self) -> usize {
        self.keys.len()
    }

    /// Whether the number is in use.
    pub fn is_alive(&self, row: u32) -> bool {
        self.places[row as usize][0] != NOWHERE
    }

    /// Whether a number is in use, for that key; any number may be asked for.
    pub fn is_row_of(&self, row: u32, key: u64) -> bool {
        self.keys.get(row as usize) == Some(&key) && self.is_alive(row)
    }

    /// Ask for what `is_row_of` will read.
    pub fn prefetch_key(&self, row: u32) {
        if let (Some(key), Some(place)) =
            (self.keys.get(row as usize), self.places.get(row as usize))
        {
            prefetch(std::slice::from_ref(key));
            prefetch(std::slice::from_ref(place));
        }
    }

    /// Whether originals are kept.
    pub fn has_originals(&self) -> bool {
        !matches!(self.originals, Originals::None)
    }

    /// What is kept of the vectors.
    pub fn keep(&self) -> Keep {
        match self.originals {
            Originals::None => Keep::Planes,
            Originals::F16(_) => Keep::Float16,
            Originals::F32(_) => Keep::Float32,
        }
    }

    /// Make room for the first rows of a store. Later ones make room as they come, in steps that grow with it.
    pub fn reserve(&mut self, rows: usize) {
        if !self.map.is_empty() {
            return;
        }
        let fresh = rows.saturating_sub(self.free.len());
        self.keys.reserve(fresh);
        self.scales.reserve(fresh);
        self.places.reserve(fresh);
        if self.metric == Metric::L2 {
            self.half_squares.reserve(fresh);
        }
        self.map.reserve(rows, &self.keys);
    }

    /// Take a number for a new key; `put` has to follow.
    pub fn take(&mut self, key: u64) -> u32 {
        let row = self.free.pop().unwrap_or_else(|| {
            let row = self.keys.len();
            if row == self.a.rows() {
                self.a.extend();
                self.rest.extend();
                self.originals.extend(self.dim);
            }
            self.keys.push(0);
            self.scales.push(0.0);
            self.places.push([NOWHERE; 2]);
            if self.metric == Metric::L2 {
                self.half_squares.push(0.0);
            }
            row as u32
        });
        self.keys[row as usize] = key;
        self.map.insert(row, &self.keys);
        row
    }

    /// The scale of a row.
    #[inline]
    pub(crate) fn scale(&self, row: u32) -> f32 {
        self.scales[row as usize]
    }

    /// The integers of a row.
    #[inline(always)]
    pub(crate) fn integers(&self, row: u32, out: &mut [u16]) {
        planes::integers(self.a(row), self.rest(row), out);
    }

    /// Let a row go, but keep what is stored of it; its number is free when it is given to `reclaim`.
    pub(crate) fn retire(&mut self, row: u32) {
        self.map.remove(self.keys[row as usize], &self.keys);
        self.places[row as usize] = [NOWHERE; 2];
    }

    /// Let numbers of rows that were retired be used again.
    pub(crate) fn reclaim(&mut self, rows: Vec<u32>) {
        self.free.extend(rows);
    }

    /// Give a number back.
    pub fn release(&mut self, row: u32) {
        self.retire(row);
        self.free.push(row);
    }

    /// Write a row that was encoded.
    pub fn put(&mut self, row: u32, encoded: &Encoded, i: usize) {
        let (half, more) = (self.width / 2, self.width * 3 / 4);
        self.a
            .get_mut(row)
            .copy_from_slice(&encoded.a[i * half..][..half]);
        self.rest
            .get_mut(row)
            .copy_from_slice(&encoded.rest[i * more..][..more]);
        self.scales[row as usize] = encoded.measures[i].scale;
        if self.metric == Metric::L2 {
            self.half_squares[row as usize] = encoded.measures[i].half_square;
        }
        if self.has_originals() {
            let values = &encoded.values[i * self.dim..][..self.dim];
            self.originals.place(row, self.dim).write(0, values);
        }
    }

    /// Take rows in that have no keys yet; `name` has to follow for each. Returns the number of the first one.
    pub(crate) fn adopt(&mut self, fresh: Fresh) -> u32 {
        let first = self.a.rows();
        // What is left of the last granule is for rows that come alone.
        self.free
            .extend((self.keys.len() as u32..first as u32).rev());
        let numbers = first + fresh.scales.len();
        self.keys.resize(numbers, 0);
        self.places.resize(numbers, [NOWHERE; 2]);
        self.scales.resize(first, 0.0);
        self.scales.extend(fresh.scales);
        if self.metric == Metric::L2 {
            self.half_squares.resize(first, 0.0);
            self.half_squares.extend(fresh.half_squares);
        }
        self.a.adopt(fresh.a);
        self.rest.adopt(fresh.rest);
        self.originals.adopt(fresh.originals);
        first as u32
    }

    /// Give a row that was taken in its key, which is not there.
    pub(crate) fn name(&mut self, row: u32, key: u64) {
        self.keys[row as usize] = key;
        self.map.insert(row, &self.keys);
    }

    /// Numbers that can be used again.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// The upper plane of a row.
    #[inline]
    pub(crate) fn a(&self, row: u32) -> &[u8] {
        self.a.get(row)
    }

    #[inline]
    fn rest(&self, row: u32) -> &[u8] {
        self.rest.get(row)
    }

    /// Ask for what `rough` will read.
    #[inline]
    pub fn prefetch_rough(&self, row: u32) {
        prefetch(self.a(row));
        prefetch(&self.scales[row as usize..][..1]);
    }

    /// Ask for what `score` will read beside it.
    #[inline]
    pub fn prefetch_rest(&self, row: u32) {
        prefetch(&self.keys[row as usize..][..1]);
        let place = row as usize % GRANULE * self.dim;
        match &self.originals {
            Originals::None => prefetch(self.rest(row)),
            Originals::F32(chunks) => {
                prefetch(&chunks[row as usize / GRANULE][place..][..self.dim]);
            }
            Originals::F16(chunks) => {
                prefetch(&chunks[row as usize / GRANULE][place..][..self.dim]);
            }
        }
    }

    /// What orders rows as the score does, by the first plane.
    #[inline]
    pub fn rough(&self, query: &Query, row: u32) -> f32 {
        let dot = planes::rough_dot(self.level, query, self.a(row), self.scales[row as usize]);
        if self.metric == Metric::L2 {
            dot - self.half_squares[row as usize]
        } else {
            dot
        }
    }

    /// Append what `rough` gives for each of some rows.
    pub fn roughs(&self, query: &Query, rows: &[u32], out: &mut Vec<f32>) {
        let (fours, rest) = rows.as_chunks::<4>();
        for four in fours {
            let scales = four.map(|row| self.scales[row as usize]);
            let mut dots =
                planes::rough_dots(self.level, query, four.map(|row| self.a(row)), scales);
            if self.metric == Metric::L2 {
                for (dot, &row) in dots.iter_mut().zip(four) {
                    *dot -= self.half_squares[row as usize];
                }
            }
            out.extend(dots);
        }
        out.extend(rest.iter().map(|&row| self.rough(query, row)));
    }

    /// The score of a row, of the best that is kept. `dot_mean` is the dot product of query and mean.
    pub fn score(&self, query: &Query, dot_mean: f64, row: u32) -> f32 {
        let place = row as usize % GRANULE * self.dim;
        let value = match &self.originals {
            Originals::None => {
                let scale = self.scales[row as usize];
                let dot =
                    dot_mean + planes::dot(self.level, query, self.a(row), self.rest(row), scale);
                match self.metric {
                    Metric::L2 => {
                        2.0 * (dot - f64::from(self.half_squares[row as usize])) - query.square
                    }
                    _ => dot,
                }
            }
            Originals::F32(chunks) => self.compare(
                &query.floats[..self.dim],
                &chunks[row as usize / GRANULE][place..][..self.dim],
            ),
            Originals::F16(chunks) => {
                let bits = &chunks[row as usize / GRANULE][place..][..self.dim];
                let values: Vec<f32> = bits
                    .iter()
                    .map(|&x| half::f16::from_bits(x).to_f32())
                    .collect();
                self.compare(&query.floats[..self.dim], &values)
            }
        };
        let bound = match self.metric {
            Metric::Cosine => 1.0,
            _ => f64::from(f32::MAX),
        };
        value.clamp(
            -bound,
            if self.metric == Metric::L2 {
                0.0
            } else {
                bound
            },
        ) as f32
    }

    fn compare(&self, query: &[f32], row: &[f32]) -> f64 {
        let l2 = self.metric == Metric::L2;
        let fast = vectorized(
            self.level,
            #[inline(always)]
            || {
                if l2 {
                    -distance(query, row)
                } else {
                    dot(self.level, query, row)
                }
            },
        );
        if fast.is_finite() {
            return f64::from(fast);
        }
        let pairs = query
            .iter()
            .zip(row)
            .map(|(&q, &x)| (f64::from(q), f64::from(x)));
        if l2 {
            -pairs.map(|(q, x)| (q - x) * (q - x)).sum::<f64>()
        } else {
            pairs.map(|(q, x)| q * x).sum()
        }
    }

    /// The 8 upper bits of a row: `4 * scale * (byte - 128)` is about the centred row. Returns the scale.
    pub fn bytes_of(&self, row: u32, integers: &mut [u16], out: &mut [u8]) -> f32 {
        vectorized(
            self.level,
            #[inline(always)]
            || {
                planes::integers(self.a(row), self.rest(row), integers);
                for (byte, w) in out.iter_mut().zip(integers) {
                    *byte = (*w >> 2) as u8;
                }
            },
        );
        self.scales[row as usize]
    }

    /// The row as floats, padded, of the best that is kept.
    pub fn floats(&self, row: u32, integers: &mut [u16], out: &mut [f32]) {
        let place = row as usize % GRANULE * self.dim;
        match &self.originals {
            Originals::F32(chunks) => {
                out[..self.dim]
                    .copy_from_slice(&chunks[row as usize / GRANULE][place..][..self.dim]);
            }
            Originals::F16(chunks) => {
                for (value, &x) in out
                    .iter_mut()
                    .zip(&chunks[row as usize / GRANULE][place..][..self.dim])
                {
                    *value = half::f16::from_bits(x).to_f32();
                }
            }
            Originals::None => vectorized(
                self.level,
                #[inline(always)]
                || {
                    planes::integers(self.a(row), self.rest(row), integers);
                    let scale = self.scales[row as usize];
                    for ((value, &w), mean) in out.iter_mut().zip(integers.iter()).zip(&self.mean) {
                        *value = mean + scale * f32::from(w as i16 - planes::ZERO as i16);
                    }
                },
            ),
        }
    }

    /// Half the squared length under l2, else zero: what estimates subtract.
    pub fn half_square(&self, row: u32) -> f32 {
        if self.metric == Metric::L2 {
            self.half_squares[row as usize]
        } else {
            0.0
        }
    }

    /// Numbers that are in use, ascending.
    pub fn living(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.numbers() as u32).filter(|&row| self.is_alive(row))
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        let numbers = 8 * self.keys.capacity()
            + 8 * self.places.capacity()
            + 4 * (self.scales.capacity() + self.half_squares.capacity() + self.free.capacity());
        self.a.bytes()
            + self.rest.bytes()
            + self.originals.bytes(self.dim)
            + numbers
            + self.map.bytes()
    }
}

/// The squared distance.
#[inline(always)]
pub(crate) fn distance(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let (a, b) = (left.chunks_exact(16), right.chunks_exact(16));
    let (rest_a, rest_b) = (a.remainder(), b.remainder());
    for (x, y) in a.zip(b) {
        for i in 0..16 {
            sums[i] += (x[i] - y[i]) * (x[i] - y[i]);
        }
    }
    for (i, (x, y)) in rest_a.iter().zip(rest_b).enumerate() {
        sums[i] += (x - y) * (x - y);
    }
    sum16(&sums)
}
