//! Rows of signed bytes, laid out for products of many rows with many others.

use crate::kernels::{PANEL, dots, products};
use crate::level::Level;

/// Signed rows in panels of 32: of each four dimensions the bytes of all 32 rows.
///
/// Where there is no kernel for panels the rows stand as they are.
pub struct Panels {
    level: Level,
    width: usize,
    count: usize,
    bytes: Vec<i8>,
}

impl Panels {
    /// Lay out rows of `width` bytes each, a multiple of 128.
    pub fn new(level: Level, rows: &[i8], width: usize) -> Panels {
        let count = rows.len() / width;
        let bytes = if level.has_avx512() {
            let mut bytes = vec![0; count.div_ceil(PANEL) * PANEL * width];
            for (i, row) in rows.chunks_exact(width).enumerate() {
                let panel = &mut bytes[i / PANEL * PANEL * width..][..PANEL * width];
                let places = panel.chunks_exact_mut(4 * PANEL);
                for (four, place) in row.chunks_exact(4).zip(places) {
                    place[i % PANEL * 4..][..4].copy_from_slice(four);
                }
            }
            bytes
        } else {
            rows.to_vec()
        };
        Panels {
            level,
            width,
            count,
            bytes,
        }
    }

    /// Numbers of `out` for each left side: the rows, and what fills the last panel.
    pub fn stride(&self) -> usize {
        self.count.next_multiple_of(PANEL)
    }

    /// The dot product of each left side, unsigned bytes, with each row: `stride` numbers for each left side.
    pub fn products(&self, lefts: &[u8], out: &mut [i32]) {
        let (width, stride) = (self.width, self.stride());
        if !self.level.has_avx512() {
            for (left, out) in lefts.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
                dots(self.level, left, &self.bytes, &mut out[..self.count]);
            }
            return;
        }
        for (lefts, out) in lefts.chunks(4 * width).zip(out.chunks_mut(4 * stride)) {
            for (number, panel) in self.bytes.chunks_exact(PANEL * width).enumerate() {
                products(lefts, panel, out, number * PANEL, stride);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn products_are_dots() {
        let mut random = Random::new(5);
        for (lefts, rows) in [(1, 1), (5, 33), (8, 64), (3, 31)] {
            let left: Vec<u8> = (0..lefts * 128).map(|_| random.bits() as u8).collect();
            let right: Vec<i8> = (0..rows * 128).map(|_| random.bits() as i8).collect();
            for level in Level::supported() {
                let panels = Panels::new(level, &right, 128);
                let mut out = vec![0; lefts * panels.stride()];
                panels.products(&left, &mut out);
                for (i, left) in left.chunks_exact(128).enumerate() {
                    let mut wanted = vec![0; rows];
                    dots(Level::Portable, left, &right, &mut wanted);
                    assert_eq!(out[i * panels.stride()..][..rows], wanted, "{level:?}");
                }
            }
        }
    }
}
