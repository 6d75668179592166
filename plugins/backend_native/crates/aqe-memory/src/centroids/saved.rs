//! Centres in a snapshot.

use std::io;

use super::Centroids;
use crate::snapshot::Writer;

impl Centroids {
    /// The scales, then the radii.
    pub(crate) fn write_scales(&self, out: &mut Writer) -> io::Result<()> {
        out.numbers(self.scales.iter().chain(&self.radii).copied())
    }

    pub(crate) fn write_bytes(&self, out: &mut Writer) -> io::Result<()> {
        self.bytes
            .chunks(4096)
            .try_for_each(|part| out.bytes(&part.iter().map(|&x| x as u8).collect::<Vec<u8>>()))
    }
}
