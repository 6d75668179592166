//! Encoding of new rows.

use crate::code::{self, Factors};
use crate::kernels::{self, dot, vectorized};
use crate::level::Level;
use crate::planes;
use crate::state::{State, normalize_extreme};
use crate::store::Shared;
use crate::{BadRow, Keep, Metric};

/// Rows that are encoded, and then put in, together: what they take fits into the second cache.
const SLICE: usize = 256;

/// What encoding needs to know of a store. It holds as long as the store's epoch is the same.
pub struct Frame {
    /// Counts how often the mean was learned.
    pub epoch: u64,
    /// Subtracted from rows, padded.
    pub mean: Vec<f32>,
    /// What nearness means.
    pub metric: Metric,
    /// Instructions to use.
    pub level: Level,
    /// Dimensions.
    pub dim: usize,
    /// What is kept of the vectors.
    pub keep: Keep,
}

/// What is known of a row beside its planes, its signs and its values.
pub struct Measures {
    /// Of the planes.
    pub scale: f32,
    /// Half the squared length under l2, else zero.
    pub half_square: f32,
    /// Of the signs.
    pub factors: Factors,
}

/// A row in the making.
pub struct Scratch {
    /// The row, padded, of unit length under cosine.
    pub values: Vec<f32>,
    /// Its signs.
    pub signs: Vec<u8>,
    centred: Vec<f32>,
}

impl Scratch {
    /// For rows of this padded width.
    pub fn new(width: usize) -> Scratch {
        Scratch {
            values: vec![0.0; width],
            signs: vec![0; width / 8],
            centred: vec![0.0; width],
        }
    }
}

impl Frame {
    /// Encode a row into its planes. The vector is read once, so that nothing follows from its being changed meanwhile.
    #[inline(always)]
    pub fn encode(
        &self,
        vector: &[f32],
        scratch: &mut Scratch,
        a: &mut [u8],
        rest: &mut [u8],
    ) -> Result<Measures, BadRow> {
        let Scratch {
            values,
            signs,
            centred,
        } = scratch;
        values[..self.dim].copy_from_slice(vector);
        let square = dot(self.level, values, values);
        let cosine = self.metric == Metric::Cosine;
        let mut factor = 1.0;
        if !square.is_finite() || cosine && !(1e-30..1e30).contains(&square) {
            settle_extreme(values, self.metric, self.level)?;
        } else if cosine {
            factor = 1.0 / square.sqrt();
        }
        let sums = kernels::centre(self.level, values, factor, &self.mean, centred, signs);
        let [square_of, size, along, signed, largest] = sums;
        let scale = planes::encode_within(centred, largest, a, rest);
        let half_square = if self.metric == Metric::L2 {
            0.5 * square
        } else {
            0.0
        };
        let mut factors = code::factors([square_of, size, along, signed]);
        factors.offset -= half_square;
        Ok(Measures {
            scale,
            half_square,
            factors,
        })
    }
}

/// Refuse a row that is not finite or, under cosine, zero.
pub fn verify(row: &[f32], metric: Metric, level: Level) -> Result<(), BadRow> {
    let (square, cosine) = (dot(level, row, row), metric == Metric::Cosine);
    let usual = square.is_finite() && (square > 0.0 || !cosine);
    // Squares may overflow or vanish where the row does not.
    let sound = || row.iter().all(|x| x.is_finite()) && !(cosine && row.iter().all(|&x| x == 0.0));
    if usual || sound() {
        Ok(())
    } else {
        Err(BadRow)
    }
}

/// The same for values whose square says nothing, which become of unit length under cosine.
#[cold]
#[inline(never)]
fn settle_extreme(values: &mut [f32], metric: Metric, level: Level) -> Result<(), BadRow> {
    verify(values, metric, level)?;
    if metric == Metric::Cosine {
        normalize_extreme(&values.to_vec(), values);
    }
    Ok(())
}

/// Encoded rows, one after the other.
#[derive(Default)]
pub struct Encoded {
    /// First planes, width / 2 bytes a row.
    pub a: Vec<u8>,
    /// The other planes, width * 3 / 4 bytes a row.
    pub rest: Vec<u8>,
    /// Signs, width / 8 bytes a row.
    pub signs: Vec<u8>,
    /// The numbers of each row.
    pub measures: Vec<Measures>,
    /// Rows where originals are kept.
    pub values: Vec<f32>,
}

impl Encoded {
    /// Encode rows in place of what was there, up to a bad one.
    pub fn encode(&mut self, frame: &Frame, vectors: &[f32]) -> Result<(), BadRow> {
        let (n, width) = (vectors.len() / frame.dim, frame.mean.len());
        self.a.resize(n * width / 2, 0);
        self.rest.resize(n * width * 3 / 4, 0);
        self.signs.clear();
        self.measures.clear();
        self.values.clear();
        let mut scratch = Scratch::new(width);
        let planes = self
            .a
            .chunks_exact_mut(width / 2)
            .zip(self.rest.chunks_exact_mut(width * 3 / 4));
        for (vector, (a, rest)) in vectors.chunks_exact(frame.dim).zip(planes) {
            let measures = vectorized(
                frame.level,
                #[inline(always)]
                || frame.encode(vector, &mut scratch, a, rest),
            )?;
            self.measures.push(measures);
            self.signs.extend_from_slice(&scratch.signs);
            if frame.keep != Keep::Planes {
                self.values.extend_from_slice(&scratch.values[..frame.dim]);
            }
        }
        Ok(())
    }
}

impl State {
    /// Add rows or replace them, up to one that is not finite or, under cosine, zero.
    pub fn add(&mut self, keys: &[u64], vectors: &[f32]) -> Result<(), BadRow> {
        let frame = self.frame();
        let mut encoded = std::mem::take(&mut self.encoded);
        let slices = vectors.chunks(SLICE * self.dim);
        for (keys, vectors) in keys.chunks(SLICE).zip(slices) {
            encoded.encode(&frame, vectors)?;
            self.append(keys, &encoded);
        }
        self.encoded = encoded;
        self.grow_up_if_due();
        Ok(())
    }
}

impl Shared {
    /// Add rows slice by slice, encoded without the store's lock; searches run in between.
    pub(crate) fn add_slices(&self, keys: &[u64], vectors: &[f32]) -> Result<(), BadRow> {
        let mut encoded = Encoded::default();
        let mut frame = self.read().frame();
        let slices = vectors.chunks(SLICE * self.options.dim);
        for (keys, vectors) in keys.chunks(SLICE).zip(slices) {
            encoded.encode(&frame, vectors)?;
            let mut state = self.write();
            if !state.is_young() && state.epoch() == frame.epoch {
                state.append(keys, &encoded);
            } else {
                // The mean may have been learned since, or may have to be now.
                state.add(keys, vectors)?;
                frame = state.frame();
            }
            self.has_grown(state);
        }
        Ok(())
    }
}
