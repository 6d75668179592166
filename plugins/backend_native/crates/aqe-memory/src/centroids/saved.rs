//! Centres in a snapshot.

use std::io;

use super::Centroids;
use crate::kernels::dot_f32;
use crate::snapshot::Writer;

impl Centroids {
    pub(crate) fn write_scales(&self, out: &mut Writer) -> io::Result<()> {
        out.numbers(self.scales.iter().copied())
    }

    pub(crate) fn write_bytes(&self, out: &mut Writer) -> io::Result<()> {
        self.bytes
            .chunks(4096)
            .try_for_each(|part| out.bytes(&part.iter().map(|&x| x as u8).collect::<Vec<u8>>()))
    }

    /// Put centres together that were read; what follows from them is computed as [`Centroids::new`] does.
    pub(crate) fn from_parts(bytes: Vec<i8>, scales: Vec<f32>, mean: &[f32]) -> Centroids {
        let width = mean.len();
        let (mut sums, mut half_squares, mut full_half_squares) =
            (Vec::new(), Vec::new(), Vec::new());
        let (mut rounded, mut full) = (vec![0.0; width], vec![0.0; width]);
        for (centre, &scale) in bytes.chunks_exact(width).zip(&scales) {
            sums.push(centre.iter().map(|&x| i32::from(x)).sum());
            for (i, &byte) in centre.iter().enumerate() {
                rounded[i] = scale * f32::from(byte);
                full[i] = mean[i] + rounded[i];
            }
            half_squares.push(0.5 * dot_f32(&rounded, &rounded));
            full_half_squares.push(0.5 * dot_f32(&full, &full));
        }
        Centroids {
            count: scales.len(),
            width,
            bytes,
            scales,
            sums,
            half_squares,
            full_half_squares,
        }
    }
}
