//! Batches that are encoded where they stay, by several threads, before the store is touched.

use std::sync::Mutex;

use crate::append::{Frame, Scratch, verify};
use crate::kernels::vectorized;
use crate::list::{List, ListPart};
use crate::rows::{Fresh, GRANULE, NOWHERE, Originals, Place, Table};
use crate::state::{SEGMENT, State, TAIL, mean_of};
use crate::store::Shared;
use crate::{BadRow, Metric, Options};

/// Rows from which a batch of new rows is encoded so.
pub(crate) const FROM: usize = 4096;

/// Rows that are taken in under one lock.
const PART: usize = 1 << 16;

/// The epoch of a mean that no store has yet.
const UNKNOWN: u64 = u64::MAX;

/// Encoded rows that are in no store yet, and where they will stand in its tail.
pub(crate) struct Draft {
    rows: Fresh,
    segments: Vec<List>,
}

/// A granule of a draft.
struct Piece<'a> {
    vectors: &'a [f32],
    a: &'a mut [u8],
    rest: &'a mut [u8],
    scales: &'a mut [f32],
    /// None but under l2.
    half_squares: &'a mut [f32],
    originals: Place<'a>,
    list: ListPart<'a>,
}

impl Draft {
    fn new(frame: &Frame, count: usize) -> Draft {
        let width = frame.mean.len();
        let mut originals = Originals::new(frame.keep);
        for _ in 0..count.div_ceil(GRANULE) {
            originals.extend(frame.dim);
        }
        let l2 = frame.metric == Metric::L2;
        let starts = (0..count).step_by(SEGMENT);
        Draft {
            rows: Fresh {
                a: Table::room(count, width / 2),
                rest: Table::room(count, width * 3 / 4),
                scales: vec![0.0; count],
                half_squares: vec![0.0; if l2 { count } else { 0 }],
                originals,
            },
            segments: starts
                .map(|start| List::filled(width / 8, SEGMENT.min(count - start)))
                .collect(),
        }
    }

    fn pieces<'a>(
        &'a mut self,
        frame: &Frame,
        vectors: &'a [f32],
    ) -> impl Iterator<Item = Piece<'a>> {
        let width = frame.mean.len();
        let Fresh {
            a,
            rest,
            scales,
            half_squares,
            originals,
        } = &mut self.rows;
        let mut half_squares = half_squares.chunks_mut(GRANULE);
        let mut originals = originals.places(scales.len().div_ceil(GRANULE)).into_iter();
        let lists = self
            .segments
            .iter_mut()
            .flat_map(|list| list.parts(GRANULE));
        vectors
            .chunks(GRANULE * frame.dim)
            .zip(a.get_mut().chunks_mut(GRANULE * width / 2))
            .zip(rest.get_mut().chunks_mut(GRANULE * width * 3 / 4))
            .zip(scales.chunks_mut(GRANULE))
            .zip(lists)
            .map(move |((((vectors, a), rest), scales), list)| Piece {
                vectors,
                a,
                rest,
                scales,
                half_squares: half_squares.next().unwrap_or_default(),
                originals: originals.next().unwrap_or(Place::None),
                list,
            })
    }
}

impl Piece<'_> {
    fn encode(&mut self, frame: &Frame, scratch: &mut Scratch) -> Result<(), BadRow> {
        let width = frame.mean.len();
        let planes = self
            .a
            .chunks_exact_mut(width / 2)
            .zip(self.rest.chunks_exact_mut(width * 3 / 4));
        for (i, (vector, (a, rest))) in self.vectors.chunks_exact(frame.dim).zip(planes).enumerate()
        {
            let measures = vectorized(
                frame.level,
                #[inline(always)]
                || frame.encode(vector, scratch, a, rest),
            )?;
            self.scales[i] = measures.scale;
            if let Some(half_square) = self.half_squares.get_mut(i) {
                *half_square = measures.half_square;
            }
            self.originals.write(i, &scratch.values[..frame.dim]);
            self.list.set(i, &scratch.signs, measures.factors);
        }
        Ok(())
    }
}

impl State {
    /// What encoding a batch needs to know, if its rows are new ones that go behind all others; else they are added
    /// slice by slice. The mean of an empty store is that of the batch.
    fn frame_of_new(&self, keys: &[u64], vectors: &[f32]) -> Option<Frame> {
        let empty = self.rows.numbers() == 0;
        if keys.len() < FROM || self.is_young() && !empty {
            return None;
        }
        let known = |&&key: &&u64| self.rows.map.get(key, &self.rows.keys).is_some();
        let few = keys.len() / 8;
        if self.rows.free() > few
            || !self.rows.map.is_empty() && keys.iter().filter(known).count() > few
        {
            return None;
        }
        let mut frame = self.frame();
        if empty {
            frame.mean = mean_of(vectors, self.dim, self.metric, self.level);
            frame.keep = self.keep;
            frame.epoch = UNKNOWN;
        }
        Some(frame)
    }

    /// Take the rows of a draft in that was encoded with the frame of this epoch.
    fn take_in(&mut self, keys: &[u64], draft: Draft) {
        let first = self.rows.adopt(draft.rows);
        let segments = draft.segments.into_iter().zip(keys.chunks(SEGMENT));
        let mut row = first;
        for (mut segment, keys) in segments {
            segment.number(row);
            self.tail.push_back(segment);
            let place = TAIL | (self.tail_first + self.tail.len() as u32 - 1);
            for &key in keys {
                if let Some(old) = self.rows.map.get(key, &self.rows.keys) {
                    self.drop_row(old);
                }
                self.rows.name(row, key);
                self.rows.places[row as usize] = [place, NOWHERE];
                row += 1;
            }
        }
        self.changes += keys.len() as u64;
    }
}

impl Shared {
    /// Add rows or replace them; of equal keys the last one counts. If one is bad nothing is changed, unless the vectors
    /// change meanwhile. The outcome does not depend on the number of threads.
    pub(crate) fn add(&self, keys: &[u64], vectors: &[f32]) -> Result<(), BadRow> {
        let frame = self.read().frame_of_new(keys, vectors);
        let Some(mut frame) = frame else {
            self.verify(vectors)?;
            self.write().found(vectors);
            return self.add_slices(keys, vectors);
        };
        let parts = vectors.chunks(PART * frame.dim);
        let mut drafts: Vec<Draft> = parts
            .clone()
            .map(|part| Draft::new(&frame, part.len() / frame.dim))
            .collect();
        self.encode(&frame, &mut drafts, parts.clone())?;
        let mut left = keys.len();
        for ((keys, draft), vectors) in keys.chunks(PART).zip(drafts).zip(parts) {
            let mut state = self.write();
            if frame.epoch == UNKNOWN && state.rows.numbers() == 0 {
                state.settle(frame.mean.clone());
                frame.epoch = state.epoch();
            }
            if state.epoch() == frame.epoch {
                state.reserve(left);
                state.take_in(keys, draft);
                self.has_grown(state);
            } else {
                // Another thread has come first, or all was replaced: the mean is another one.
                drop(state);
                self.add_slices(keys, vectors)?;
            }
            left -= keys.len();
        }
        Ok(())
    }

    /// Encode pieces of drafts in several threads.
    fn encode<'a>(
        &self,
        frame: &Frame,
        drafts: &mut [Draft],
        parts: impl Iterator<Item = &'a [f32]>,
    ) -> Result<(), BadRow> {
        let pieces: Vec<Piece> = drafts
            .iter_mut()
            .zip(parts)
            .flat_map(|(draft, part)| draft.pieces(frame, part))
            .collect();
        let width = frame.mean.len();
        let pieces = Mutex::new(pieces.into_iter());
        let next = || pieces.lock().expect("taking a piece does not panic").next();
        let work = || {
            let mut scratch = Scratch::new(width);
            while let Some(mut piece) = next() {
                piece.encode(frame, &mut scratch)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.options.threads)
                .map(|_| scope.spawn(work))
                .collect();
            let own = work();
            others
                .into_iter()
                .map(|thread| thread.join().expect("encoding does not panic"))
                .fold(own, Result::and)
        })
    }

    /// Refuse a batch with a bad row.
    fn verify(&self, vectors: &[f32]) -> Result<(), BadRow> {
        let Options {
            dim, metric, level, ..
        } = self.options;
        let mut rows = vectors.chunks_exact(dim);
        rows.try_for_each(|row| verify(row, metric, level))
    }
}
