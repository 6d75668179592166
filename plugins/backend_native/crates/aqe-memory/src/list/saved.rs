//! Lists in a snapshot.

use std::io;

use super::{List, NO_ROW};
use crate::buffer::Buffer;
use crate::kernels::BLOCK;
use crate::snapshot::{Error, Section, Writer, damaged};

impl List {
    /// Blocks in use.
    pub(crate) fn blocks(&self) -> usize {
        self.len().div_ceil(BLOCK)
    }

    /// Rows of all lanes of the blocks in use, `NO_ROW` where there is none.
    pub(crate) fn lanes(&self) -> &[u32] {
        &self.rows[..self.blocks() * BLOCK]
    }

    pub(crate) fn write_factors(&self, out: &mut Writer) -> io::Result<()> {
        out.numbers(self.factors[..self.blocks() * 2 * BLOCK].iter().copied())
    }

    pub(crate) fn write_codes(&self, out: &mut Writer) -> io::Result<()> {
        out.bytes(&self.codes.get()[..self.blocks() * BLOCK * self.width])
    }

    /// Read lists of given lengths: their codes, factors and rows.
    pub(crate) fn read(
        lengths: &[u32],
        width: usize,
        [codes, factors, rows]: [&mut Section; 3],
    ) -> Result<Vec<List>, Error> {
        let mut lists = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let blocks = (length as usize).div_ceil(BLOCK);
            let rows: Vec<u32> = rows.numbers(blocks * BLOCK)?;
            let alive = rows.iter().filter(|&&row| row != NO_ROW).count();
            let used = length as usize;
            if alive > used {
                return damaged("a list of it holds more rows than it has");
            }
            let mut list = List {
                codes: Buffer::zeroed(blocks * BLOCK * width),
                factors: factors.numbers(blocks * 2 * BLOCK)?,
                dead: used - alive,
                used,
                rows,
                width,
            };
            codes.bytes(list.codes.get_mut())?;
            list.verify()?;
            lists.push(list);
        }
        Ok(lists)
    }

    /// Refuse factors that no encoding gives: a slot is found if there is a row in it, and not otherwise.
    fn verify(&self) -> Result<(), Error> {
        for (block, factors) in self.factors.chunks_exact(2 * BLOCK).enumerate() {
            let (slopes, offsets) = factors.split_at(BLOCK);
            for (lane, (slope, &offset)) in slopes.iter().zip(offsets).enumerate() {
                let row = self.rows.get(block * BLOCK + lane).unwrap_or(&NO_ROW);
                let sound = if *row == NO_ROW {
                    offset == f32::NEG_INFINITY
                } else {
                    offset.is_finite()
                };
                if !sound || !slope.is_finite() {
                    return damaged("a factor of its codes is wrong");
                }
            }
        }
        Ok(())
    }
}
