//! Vectors as they came, where they are kept beside the planes.

use super::table::GRANULE;
use crate::Keep;

/// What is kept, a granule of rows together.
pub(crate) enum Originals {
    None,
    F32(Vec<Vec<f32>>),
    F16(Vec<Vec<u16>>),
}

/// A place for one or more rows.
pub(crate) enum Place<'a> {
    None,
    F32(&'a mut [f32]),
    F16(&'a mut [u16]),
}

impl Originals {
    pub fn new(keep: Keep) -> Originals {
        match keep {
            Keep::Planes => Originals::None,
            Keep::Float16 => Originals::F16(Vec::new()),
            Keep::Float32 => Originals::F32(Vec::new()),
        }
    }

    /// Make room for another granule.
    pub fn extend(&mut self, dim: usize) {
        match self {
            Originals::F32(parts) => parts.push(vec![0.0; GRANULE * dim]),
            Originals::F16(parts) => parts.push(vec![0; GRANULE * dim]),
            Originals::None => {}
        }
    }

    /// Append whole granules of the same kind.
    pub fn adopt(&mut self, other: Originals) {
        match (self, other) {
            (Originals::F32(parts), Originals::F32(more)) => parts.extend(more),
            (Originals::F16(parts), Originals::F16(more)) => parts.extend(more),
            (Originals::None, Originals::None) => {}
            _ => unreachable!("of one store"),
        }
    }

    /// A place for each of some granules.
    pub fn places(&mut self, granules: usize) -> Vec<Place<'_>> {
        match self {
            Originals::F32(parts) => parts.iter_mut().map(|part| Place::F32(part)).collect(),
            Originals::F16(parts) => parts.iter_mut().map(|part| Place::F16(part)).collect(),
            Originals::None => (0..granules).map(|_| Place::None).collect(),
        }
    }

    /// The place of a row.
    pub fn place(&mut self, row: u32, dim: usize) -> Place<'_> {
        let (granule, place) = (row as usize / GRANULE, row as usize % GRANULE * dim);
        match self {
            Originals::F32(parts) => Place::F32(&mut parts[granule][place..][..dim]),
            Originals::F16(parts) => Place::F16(&mut parts[granule][place..][..dim]),
            Originals::None => Place::None,
        }
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self, dim: usize) -> usize {
        match self {
            Originals::None => 0,
            Originals::F32(parts) => parts.len() * GRANULE * dim * 4,
            Originals::F16(parts) => parts.len() * GRANULE * dim * 2,
        }
    }
}

impl Place<'_> {
    /// Write a row to the i-th place of those that are here.
    pub fn write(&mut self, i: usize, values: &[f32]) {
        let dim = values.len();
        match self {
            Place::None => {}
            Place::F32(out) => out[i * dim..][..dim].copy_from_slice(values),
            Place::F16(out) => {
                for (out, &x) in out[i * dim..][..dim].iter_mut().zip(values) {
                    *out = half::f16::from_f32(x).to_bits();
                }
            }
        }
    }
}
