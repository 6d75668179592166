//! Encoding of new rows: without the store's lock, in several threads, put in by turns.

use std::sync::{Condvar, Mutex};

use crate::Metric;
use crate::code::{self, Factors};
use crate::kernels::{dot, vectorized};
use crate::level::Level;
use crate::planes;
use crate::state::{State, normalize};
use crate::store::Shared;

/// Rows that are encoded, and then put in, together: what they take fits into the second cache.
const SLICE: usize = 256;

/// Rows from which a batch is divided among threads.
const DIVIDE_FROM: usize = 4096;

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
    /// Whether originals are kept.
    pub originals: bool,
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
    /// Of the planes.
    pub scales: Vec<f32>,
    /// Half the squared length under l2, else zero.
    pub half_squares: Vec<f32>,
    /// Of the signs.
    pub factors: Vec<Factors>,
    /// Padded rows where originals are kept, else one row of scratch.
    pub values: Vec<f32>,
    centred: Vec<f32>,
}

impl Encoded {
    /// Encode rows in place of what was there.
    pub fn encode(&mut self, frame: &Frame, vectors: &[f32]) {
        let (n, width) = (vectors.len() / frame.dim, frame.mean.len());
        self.a.resize(n * width / 2, 0);
        self.rest.resize(n * width * 3 / 4, 0);
        self.signs.resize(n * width / 8, 0);
        self.scales.resize(n, 0.0);
        self.half_squares.resize(n, 0.0);
        let nothing = Factors {
            slope: 0.0,
            offset: 0.0,
        };
        self.factors.resize(n, nothing);
        self.values
            .resize(if frame.originals { n * width } else { width }, 0.0);
        self.centred.resize(width, 0.0);
        for (i, vector) in vectors.chunks_exact(frame.dim).enumerate() {
            vectorized(
                frame.level,
                #[inline(always)]
                || self.encode_row(frame, i, vector),
            );
        }
    }

    #[inline(always)]
    fn encode_row(&mut self, frame: &Frame, i: usize, vector: &[f32]) {
        let width = frame.mean.len();
        let start = if frame.originals { i * width } else { 0 };
        let values = &mut self.values[start..][..width];
        normalize(frame.level, vector, frame.metric, values);
        for ((out, x), mean) in self.centred.iter_mut().zip(&*values).zip(&frame.mean) {
            *out = x - mean;
        }
        let (half, more) = (width / 2, width * 3 / 4);
        let a = &mut self.a[i * half..][..half];
        let rest = &mut self.rest[i * more..][..more];
        self.scales[i] = planes::encode(&self.centred, a, rest);
        if frame.metric == Metric::L2 {
            self.half_squares[i] = 0.5 * dot(frame.level, values, values);
        }
        let signs = &mut self.signs[i * width / 8..][..width / 8];
        let mut factors = code::encode(frame.level, values, &frame.mean, signs);
        factors.offset -= self.half_squares[i];
        self.factors[i] = factors;
    }
}

impl State {
    /// Add rows or replace them. Vectors are finite, and not zero under cosine.
    pub fn add(&mut self, keys: &[u64], vectors: &[f32]) {
        let frame = self.frame();
        let mut encoded = std::mem::take(&mut self.encoded);
        let slices = vectors.chunks(SLICE * self.dim);
        for (keys, vectors) in keys.chunks(SLICE).zip(slices) {
            encoded.encode(&frame, vectors);
            self.append(keys, &encoded);
        }
        self.encoded = encoded;
        self.grow_up_if_due();
    }
}

impl Shared {
    /// Add rows slice by slice; searches run in between. The outcome does not depend on the number of threads.
    pub(crate) fn add(&self, keys: &[u64], vectors: &[f32]) {
        let slices: Vec<(&[u64], &[f32])> = keys
            .chunks(SLICE)
            .zip(vectors.chunks(SLICE * self.options.dim))
            .collect();
        let threads = if keys.len() < DIVIDE_FROM {
            1
        } else {
            self.options.threads
        };
        let turn = (Mutex::new(0), Condvar::new());
        if threads <= 1 {
            return self.add_each(&slices, 0, 1, &turn);
        }
        std::thread::scope(|scope| {
            for first in 0..threads {
                let (slices, turn) = (&slices, &turn);
                scope.spawn(move || self.add_each(slices, first, threads, turn));
            }
        });
    }

    /// Encode every `step`-th slice, and put each in when all before it are.
    fn add_each(
        &self,
        slices: &[(&[u64], &[f32])],
        first: usize,
        step: usize,
        (turn, changed): &(Mutex<usize>, Condvar),
    ) {
        let mut encoded = Encoded::default();
        let mut frame = self.read().frame();
        for (i, &(keys, vectors)) in slices.iter().enumerate().skip(first).step_by(step) {
            encoded.encode(&frame, vectors);
            let mut next = turn.lock().expect("no thread panics in its turn");
            while *next != i {
                next = changed.wait(next).expect("no thread panics in its turn");
            }
            let mut state = self.write();
            if !state.is_young() && state.epoch() == frame.epoch {
                state.append(keys, &encoded);
            } else {
                // The mean may have been learned since, or may have to be now.
                state.add(keys, vectors);
                frame = state.frame();
            }
            if state.is_overgrown() {
                state.leave_index();
            }
            self.note_alive(state.rows.alive());
            drop(state);
            *next += 1;
            changed.notify_all();
        }
    }
}
