//! A stored row, prepared for comparing it with others.

use super::Graph;
use crate::kernels::vectorized;
use crate::level::Level;
use crate::planes::{self, ZERO};
use crate::rows::Rows;

/// The upper 8 bits of a row.
#[derive(Default)]
pub struct Point {
    high: Vec<i8>,
    sum: i32,
    /// The row less the mean is about `step * high`.
    step: f32,
    /// Half its squared length.
    pub half: f32,
    integers: Vec<u16>,
}

impl Point {
    /// Read a row.
    pub fn load(&mut self, level: Level, rows: &Rows, row: u32) {
        self.high.resize(rows.width, 0);
        self.integers.resize(rows.width, 0);
        let scale = rows.scale(row);
        let (mut sum, mut squares) = (0i32, 0i64);
        vectorized(
            level,
            #[inline(always)]
            || {
                rows.integers(row, &mut self.integers);
                for (part, out) in self.integers.chunks(64).zip(self.high.chunks_mut(64)) {
                    let mut square = 0i32; // 64 * 512^2 fits
                    for (&w, high) in part.iter().zip(out) {
                        *high = ((w >> 2) as u8 ^ 128) as i8;
                        sum += i32::from(*high);
                        let centred = i32::from(w) - ZERO;
                        square += centred * centred;
                    }
                    squares += i64::from(square);
                }
            },
        );
        self.sum = sum;
        self.step = 4.0 * scale;
        let half = 0.5 * f64::from(scale) * f64::from(scale) * squares as f64;
        self.half = half.min(f64::from(f32::MAX)) as f32;
    }

    /// The dot product with another row, both less the mean.
    #[inline]
    pub fn dot(&self, level: Level, rows: &Rows, row: u32) -> f32 {
        let (plane, scale) = (rows.a(row), rows.scale(row));
        planes::rough(level, (&self.high, self.sum, self.step), plane, scale)
    }

    /// What falls with the distance of a vertex: half the squared distance is `self.half - near`.
    #[inline]
    pub(super) fn near(&self, level: Level, rows: &Rows, graph: &Graph, row: u32) -> f32 {
        self.dot(level, rows, row) - graph.half(row)
    }
}
