//! Rows in a snapshot.

use std::io;

use super::{GRANULE, Originals, Rows, Table};
use crate::buffer::Buffer;
use crate::keys::KeyMap;
use crate::level::Level;
use crate::snapshot::{Error, Section, Writer, damaged};
use crate::store::NO_KEY;
use crate::{Keep, Metric};

/// What is read of rows on its own: a plane.
pub(crate) struct Planes(Buffer);

/// The originals that were read.
pub(crate) struct Kept(Originals);

/// The numbers of each row.
pub(crate) struct Numbers {
    pub mean: Vec<f32>,
    pub keys: Vec<u64>,
    pub places: Vec<[u32; 2]>,
    pub scales: Vec<f32>,
    pub half_squares: Vec<f32>,
}

impl Rows {
    pub(crate) fn write_scales(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        out.numbers(living.iter().map(|&row| self.scales[row as usize]))
    }

    pub(crate) fn write_half_squares(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        if self.metric == Metric::L2 {
            out.numbers(living.iter().map(|&row| self.half_squares[row as usize]))?;
        }
        Ok(())
    }

    pub(crate) fn write_upper_plane(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        living.iter().try_for_each(|&row| out.bytes(self.a(row)))
    }

    pub(crate) fn write_other_planes(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        living.iter().try_for_each(|&row| out.bytes(self.rest(row)))
    }

    pub(crate) fn write_originals(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        let of = |row: u32| (row as usize / GRANULE, row as usize % GRANULE * self.dim);
        match &self.originals {
            Originals::None => Ok(()),
            Originals::F32(chunks) => living.iter().try_for_each(|&row| {
                let (chunk, start) = of(row);
                out.numbers(chunks[chunk][start..][..self.dim].iter().copied())
            }),
            Originals::F16(chunks) => living.iter().try_for_each(|&row| {
                let (chunk, start) = of(row);
                out.numbers(chunks[chunk][start..][..self.dim].iter().copied())
            }),
        }
    }

    /// Put rows together that were read. Keys and numbers are refused if no store can have written them.
    pub(crate) fn from_parts(
        (dim, metric, keep, level): (usize, Metric, Keep, Level),
        numbers: Numbers,
        [upper, others]: [Planes; 2],
        originals: Kept,
        map: KeyMap,
    ) -> Result<Rows, Error> {
        let floats = [&numbers.mean, &numbers.scales, &numbers.half_squares];
        if floats.iter().any(|values| !all_finite(values)) {
            return damaged("a number of its rows is not finite");
        }
        let mut rows = Rows::new(dim, metric, keep, level);
        rows.mean = numbers.mean;
        rows.keys = numbers.keys;
        rows.places = numbers.places;
        rows.scales = numbers.scales;
        rows.half_squares = numbers.half_squares;
        rows.a.adopt(upper.0);
        rows.rest.adopt(others.0);
        rows.originals = originals.0;
        rows.map = map;
        Ok(rows)
    }
}

impl Planes {
    /// Read a plane of rows of so many bytes each.
    pub(crate) fn read(section: &mut Section, rows: usize, bytes: usize) -> Result<Planes, Error> {
        let mut plane = Table::room(rows, bytes);
        section.bytes(&mut plane.get_mut()[..rows * bytes])?;
        Ok(Planes(plane))
    }
}

impl Kept {
    /// Read what is kept of rows beside the planes.
    pub(crate) fn read(
        section: &mut Section,
        rows: usize,
        dim: usize,
        keep: Keep,
    ) -> Result<Kept, Error> {
        let mut originals = Originals::new(keep);
        for start in (0..rows).step_by(GRANULE) {
            let count = GRANULE.min(rows - start) * dim;
            let finite = match &mut originals {
                Originals::None => true,
                Originals::F32(chunks) => {
                    let mut chunk = section.numbers::<f32>(count)?;
                    let finite = all_finite(&chunk);
                    chunk.resize(GRANULE * dim, 0.0);
                    chunks.push(chunk);
                    finite
                }
                Originals::F16(chunks) => {
                    let mut chunk = section.numbers::<u16>(count)?;
                    // An exponent of ones is infinite or no number.
                    let finite = chunk.iter().all(|bits| bits & 0x7c00 != 0x7c00);
                    chunk.resize(GRANULE * dim, 0);
                    chunks.push(chunk);
                    finite
                }
            };
            if !finite {
                return damaged("a vector in it is not finite");
            }
        }
        Ok(Kept(originals))
    }
}

/// The map of keys, each of which must be there once.
pub(crate) fn map_of(keys: &[u64]) -> Result<KeyMap, Error> {
    let mut map = KeyMap::default();
    map.reserve(keys.len(), keys);
    for (row, &key) in keys.iter().enumerate() {
        if key == NO_KEY || map.get(key, keys).is_some() {
            return damaged("it holds a key twice, or one that is none");
        }
        map.insert(row as u32, keys);
    }
    Ok(map)
}

pub(crate) fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}
