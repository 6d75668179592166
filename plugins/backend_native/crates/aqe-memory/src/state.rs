//! What a store holds: rows, the tail of new ones, lists of the others. Everything here runs under the store's lock.

use std::collections::VecDeque;

use crate::append::{Encoded, Frame};
use crate::centroids::{Centroids, Chosen, Ranking};
use crate::code;
use crate::hnsw::{GRAPH, Graph};
use crate::kernels::{dot, dot_f32, vectorized};
use crate::level::Level;
use crate::list::List;
use crate::planes::GROUP;
use crate::rows::{NOWHERE, Rows};
use crate::{Keep, Metric, Options};

/// Marks the number of a segment of the tail among the places of a row.
pub const TAIL: u32 = 1 << 31;

/// Rows of a segment of the tail.
pub const SEGMENT: usize = 4096;

/// Rows from which the mean is learned for good; below it originals are kept, so that it can be learned anew.
pub const YOUNG: usize = 1024;

/// Below so many dimensions originals are kept always: they take no more than planes of longer vectors.
pub const SHORT: usize = 128;

/// The lists and what they were learned on.
pub struct Lists {
    /// Centres.
    pub centroids: Centroids,
    /// One for each centre.
    pub lists: Vec<List>,
    /// Up to which ratio a row stands in a second list; see [`Chosen`].
    pub spill: f32,
    /// Rows at the time of learning.
    pub learned_on: usize,
    /// Mean squared distance of rows from their centre at that time.
    pub error: f64,
    /// Sum of squared distances of rows merged since.
    pub merged_error: f64,
    /// How many were merged since.
    pub merged: usize,
}

/// How a search is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Lists that are scanned at most.
    pub probes: usize,
    /// A list is left out if its centre is worse than the tenth best estimate by more than this, in units of what
    /// estimates within a list differ by.
    pub margin: f32,
    /// Rows that are refined.
    pub refine: usize,
    /// Recall at 10 that was measured with this; NaN if not yet.
    pub recall: f64,
    /// Rows at the time of measuring.
    pub measured_on: usize,
}

/// The state of a store.
pub struct State {
    /// All rows.
    pub rows: Rows,
    /// Rows that are in no list yet, scanned whole.
    pub tail: VecDeque<List>,
    /// Number of the first segment of the tail.
    pub tail_first: u32,
    /// Lists, once learned.
    pub lists: Option<Lists>,
    /// The graph, once begun.
    pub graph: Option<Graph>,
    /// Rows that left but are vertices still; their numbers are not used again until they are none.
    pub parked: Vec<u32>,
    /// Counts rows that were entered or left.
    pub(crate) changes: u64,
    /// How to search.
    pub tuning: Tuning,
    /// While lists are built: the first segment that is not part of them.
    pub build: Option<u32>,
    /// While places are chosen for rows beside the calls: the numbers of rows that left since, though others may have
    /// taken them.
    pub touched: Option<Vec<u32>>,
    pub(crate) level: Level,
    pub(crate) metric: Metric,
    pub(crate) dim: usize,
    pub(crate) keep: Keep,
    pub(crate) young: bool,
    pub(crate) epoch: u64,
    values: Vec<f32>,
    integers: Vec<u16>,
    pub(crate) encoded: Encoded,
}

impl State {
    /// An empty state.
    pub fn new(options: &Options) -> State {
        let (dim, level) = (options.dim, options.level);
        let rows = Rows::new(dim, options.metric, Keep::Float32, level);
        let width = rows.width;
        State {
            rows,
            tail: VecDeque::new(),
            tail_first: 0,
            lists: None,
            graph: None,
            parked: Vec::new(),
            changes: 0,
            tuning: Tuning {
                probes: 0,
                margin: f32::INFINITY,
                refine: 100,
                recall: f64::NAN,
                measured_on: 0,
            },
            build: None,
            touched: None,
            level,
            metric: options.metric,
            dim,
            keep: if dim < SHORT {
                Keep::Float32
            } else {
                options.keep
            },
            young: true,
            epoch: 0,
            values: vec![0.0; width],
            integers: Vec::new(),
            encoded: Encoded::default(),
        }
    }

    /// Whether the mean is not learned for good yet.
    pub fn is_young(&self) -> bool {
        self.young
    }

    /// Learn the mean of a first batch before it is added, and make room for it.
    pub fn found(&mut self, vectors: &[f32]) {
        if self.rows.numbers() == 0 && vectors.len() / self.dim >= YOUNG {
            self.settle(mean_of(vectors, self.dim, self.metric, self.level));
        }
        self.reserve(vectors.len() / self.dim);
    }

    /// Start without rows and with this mean, which stays.
    pub(crate) fn settle(&mut self, mean: Vec<f32>) {
        self.rows = Rows::new(self.dim, self.metric, self.keep, self.level);
        self.rows.mean = mean;
        self.tail.clear();
        self.young = false;
        self.epoch += 1;
    }

    /// Learn the mean of a young store and encode its rows anew, once it is grown.
    fn grow_up(&mut self) {
        let (dim, width) = (self.dim, self.rows.width);
        let living: Vec<u32> = self.rows.living().collect();
        let mut vectors = vec![0f32; living.len() * dim];
        let (mut integers, mut floats) = (vec![0; width], vec![0.0; width]);
        for (out, &row) in vectors.chunks_exact_mut(dim).zip(&living) {
            self.rows.floats(row, &mut integers, &mut floats);
            out.copy_from_slice(&floats[..dim]);
        }
        let keys: Vec<u64> = living
            .iter()
            .map(|&row| self.rows.keys[row as usize])
            .collect();
        self.settle(mean_of(&vectors, dim, self.metric, self.level));
        self.add(&keys, &vectors)
            .expect("what was kept is finite and, under cosine, of unit length");
    }

    /// What encoding needs to know.
    pub fn frame(&self) -> Frame {
        Frame {
            epoch: self.epoch,
            mean: self.rows.mean.clone(),
            metric: self.metric,
            level: self.level,
            dim: self.dim,
            keep: self.rows.keep(),
        }
    }

    /// How often the mean was learned.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Add rows or replace them, encoded with the frame of this epoch.
    pub fn append(&mut self, keys: &[u64], encoded: &Encoded) {
        let width = self.rows.width / 8;
        for (i, &key) in keys.iter().enumerate() {
            if let Some(row) = self.rows.map.get(key, &self.rows.keys) {
                self.drop_row(row);
            }
            let row = self.rows.take(key);
            self.changes += 1;
            let place = self.open_segment();
            self.rows.put(row, encoded, i);
            let segment = self.tail.back_mut().expect("open_segment leaves one");
            segment.push(
                row,
                &encoded.signs[i * width..][..width],
                encoded.measures[i].factors,
            );
            self.rows.places[row as usize] = [place, NOWHERE];
        }
    }

    /// Encode a row that is kept into the tail.
    pub(crate) fn put_in_tail(&mut self, row: u32) {
        let place = self.open_segment();
        let width = self.rows.width;
        let (mut integers, mut signs) = (std::mem::take(&mut self.integers), vec![0; width / 8]);
        integers.resize(width, 0);
        let (level, rows, values) = (self.level, &self.rows, &mut self.values);
        let factors = vectorized(
            level,
            #[inline(always)]
            || {
                rows.floats(row, &mut integers, values);
                code::encode(level, values, &rows.mean, &mut signs)
            },
        );
        let factors = code::Factors {
            offset: factors.offset - rows.half_square(row),
            ..factors
        };
        self.integers = integers;
        let segment = self.tail.back_mut().expect("open_segment leaves one");
        segment.push(row, &signs, factors);
        self.rows.places[row as usize] = [place, NOWHERE];
    }

    /// Take a row that was entered in the graph out of the tail, if it is still where it was.
    pub(crate) fn leave_tail(&mut self, row: u32, from: u32) {
        if self.rows.places[row as usize] == [from, NOWHERE] {
            self.list_mut(from).kill(row);
            self.rows.places[row as usize] = [GRAPH, NOWHERE];
        }
    }

    /// Learn the mean once there are rows enough.
    pub fn grow_up_if_due(&mut self) {
        if self.young && self.rows.alive() >= YOUNG {
            self.grow_up();
        }
    }

    /// Make room for the rows of a batch.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
        if self.tail.is_empty() {
            self.tail
                .push_back(List::new(self.rows.width / 8, rows.min(SEGMENT)));
        }
    }

    fn open_segment(&mut self) -> u32 {
        if self
            .tail
            .back()
            .is_none_or(|segment| segment.len() >= SEGMENT)
        {
            self.new_segment();
        }
        TAIL | (self.tail_first + self.tail.len() as u32 - 1)
    }

    /// Begin a segment.
    pub fn new_segment(&mut self) {
        let rows = self
            .tail
            .back()
            .map_or(0, |last| SEGMENT.min(2 * last.len()));
        self.tail.push_back(List::new(self.rows.width / 8, rows));
    }

    /// Remove keys; return how many were there.
    pub fn remove(&mut self, keys: &[u64]) -> usize {
        let before = self.rows.alive();
        for &key in keys {
            if let Some(row) = self.rows.map.get(key, &self.rows.keys) {
                self.drop_row(row);
            }
        }
        self.tidy();
        before - self.rows.alive()
    }

    pub(crate) fn drop_row(&mut self, row: u32) {
        self.changes += 1;
        for place in self.rows.places[row as usize] {
            if place != NOWHERE && place != GRAPH {
                let list = self.list_mut(place);
                list.kill(row);
                if list.is_sparse() && place & TAIL == 0 {
                    list.compact();
                }
            }
        }
        if self.graph.as_ref().is_some_and(|graph| graph.has(row)) {
            self.rows.retire(row);
            self.parked.push(row);
        } else {
            self.rows.release(row);
        }
        if let Some(touched) = &mut self.touched {
            touched.push(row);
        }
    }

    /// Note rows that leave from now on.
    pub(crate) fn watch(&mut self) {
        self.touched = Some(Vec::new());
    }

    /// The numbers that rows have left since `watch`, ascending, each once.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        let mut touched = self.touched.take().expect("watched before");
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    fn list_mut(&mut self, place: u32) -> &mut List {
        if place & TAIL != 0 {
            &mut self.tail[((place & !TAIL) - self.tail_first) as usize]
        } else {
            &mut self.lists.as_mut().expect("a row is in a list").lists[place as usize]
        }
    }

    /// Reclaim what removed rows took in the tail.
    pub fn tidy(&mut self) {
        if self.build.is_some() {
            return; // which segments are part of the build must stay known
        }
        while self
            .tail
            .front()
            .is_some_and(|segment| segment.alive() == 0)
        {
            self.tail.pop_front();
            self.tail_first += 1;
        }
        let (slots, alive) = self.tail.iter().fold((0, 0), |sum, list| {
            (sum.0 + list.len(), sum.1 + list.alive())
        });
        if slots > alive + SEGMENT / 4 && 4 * (slots - alive) > slots {
            let old = std::mem::take(&mut self.tail);
            self.tail_first = 0;
            for segment in &old {
                if self
                    .tail
                    .back()
                    .is_none_or(|last| last.len() + segment.alive() > SEGMENT)
                {
                    self.new_segment();
                }
                let place = TAIL | (self.tail.len() as u32 - 1);
                self.tail.back_mut().expect("just made").append(segment);
                for &row in segment
                    .rows()
                    .iter()
                    .filter(|&&row| row != crate::list::NO_ROW)
                {
                    self.rows.places[row as usize] = [place, NOWHERE];
                }
            }
        }
        if self.rows.alive() == 0 {
            self.lists = None;
            self.graph = None;
            self.parked.clear();
            self.tail.clear();
            self.tail_first = 0;
            let mean = std::mem::take(&mut self.rows.mean);
            let keep = if self.young { Keep::Float32 } else { self.keep };
            self.rows = Rows::new(self.dim, self.metric, keep, self.level);
            self.rows.mean = mean;
        }
    }

    /// Rows in the tail.
    pub fn in_tail(&self) -> usize {
        self.tail.iter().map(List::alive).sum()
    }

    /// Move rows from the tail into the lists that were chosen for them since `watch`, if they are still there.
    pub fn merge(&mut self, moves: &[(u32, u32, Chosen)], buffers: &mut Buffers) {
        let touched = self.take_touched();
        if self.lists.is_none() {
            return; // all rows have left since, and the lists with them
        }
        for &(row, from, chosen) in moves {
            if touched.binary_search(&row).is_ok()
                || self.rows.places[row as usize] != [from, NOWHERE]
            {
                continue;
            }
            self.rows
                .floats(row, &mut buffers.integers, &mut buffers.floats);
            let half = self.rows.half_square(row);
            self.list_mut(from).kill(row);
            let lists = self.lists.as_mut().expect("merging goes into lists");
            let places = chosen.places(lists.spill);
            for place in places.into_iter().filter(|&place| place != NOWHERE) {
                let factors = vectorized(
                    self.level,
                    #[inline(always)]
                    || {
                        lists
                            .centroids
                            .centre(place, &self.rows.mean, &mut buffers.centred);
                        code::encode(
                            self.level,
                            &buffers.floats,
                            &buffers.centred,
                            &mut buffers.signs,
                        )
                    },
                );
                let factors = code::Factors {
                    offset: factors.offset - half,
                    ..factors
                };
                lists.lists[place as usize].push(row, &buffers.signs, factors);
            }
            for ((out, x), mean) in buffers
                .centred
                .iter_mut()
                .zip(&buffers.floats)
                .zip(&self.rows.mean)
            {
                *out = x - mean;
            }
            lists.merged_error += lists.centroids.error(places[0], &buffers.centred);
            lists.merged += 1;
            self.rows.places[row as usize] = places;
        }
    }

    /// Keep known which rows are part of lists that are built from now on.
    pub(crate) fn begin_build(&mut self) {
        self.new_segment();
        self.build = Some(self.tail_first + self.tail.len() as u32 - 1);
        self.watch();
    }

    /// Put lists in place that were built since `begin_build`.
    pub fn install(&mut self, mut lists: Lists, places: &[[u32; 2]]) {
        let mark = self.build.take().expect("a build was begun");
        let touched = self.take_touched();
        for &row in &touched {
            // Numbers behind the last place were free when the build began.
            for &place in places.get(row as usize).into_iter().flatten() {
                if place != NOWHERE {
                    lists.lists[place as usize].kill(row);
                }
            }
        }
        let mut touched = touched.iter().peekable();
        for (row, place) in places.iter().enumerate() {
            if touched.peek().is_some_and(|&&next| next as usize == row) {
                touched.next();
            } else if place[0] != NOWHERE {
                self.rows.places[row] = *place;
            }
        }
        while self.tail_first < mark && !self.tail.is_empty() {
            self.tail.pop_front();
            self.tail_first += 1;
        }
        self.lists = Some(lists);
        self.drop_graph();
        self.tuning.measured_on = 0; // until it is measured, every row is scored
        self.tidy();
    }

    /// Read a row into buffers; return the scale of its bytes.
    pub fn load(&self, row: u32, buffers: &mut Buffers) -> f32 {
        vectorized(
            self.level,
            #[inline(always)]
            || {
                let Buffers {
                    integers,
                    floats,
                    centred,
                    bytes,
                    ..
                } = buffers;
                self.rows.floats(row, integers, floats);
                for ((out, x), mean) in centred.iter_mut().zip(&*floats).zip(&self.rows.mean) {
                    *out = x - mean;
                }
                4.0 * self.rows.bytes_of(row, integers, bytes)
            },
        )
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        let tail: usize = self.tail.iter().map(List::bytes).sum();
        let lists = self.lists.as_ref().map_or(0, |lists| {
            lists.lists.iter().map(List::bytes).sum::<usize>() + lists.centroids.bytes()
        });
        let graph = self.graph.as_ref().map_or(0, Graph::bytes) + 4 * self.parked.capacity();
        self.rows.bytes() + tail + lists + graph
    }
}

/// Scratch for reading rows.
pub struct Buffers {
    /// The row as integers.
    pub integers: Vec<u16>,
    /// The row as floats.
    pub floats: Vec<f32>,
    /// The row less the mean.
    pub centred: Vec<f32>,
    /// The upper bits.
    pub bytes: Vec<u8>,
    /// A code.
    pub signs: Vec<u8>,
    /// Products of the bytes with the centres of lists.
    pub products: Vec<i32>,
    /// For choosing lists.
    pub ranking: Ranking,
}

impl Buffers {
    /// For rows of this padded width.
    pub fn new(width: usize) -> Buffers {
        Buffers {
            integers: vec![0; width],
            floats: vec![0.0; width],
            centred: vec![0.0; width],
            bytes: vec![0; width],
            signs: vec![0; width / 8],
            products: Vec::new(),
            ranking: Ranking::default(),
        }
    }
}

/// The mean of rows of unit length under cosine, padded; of many by a sample of 2,048 or less, at equal distances.
pub(crate) fn mean_of(vectors: &[f32], dim: usize, metric: Metric, level: Level) -> Vec<f32> {
    let width = dim.div_ceil(GROUP) * GROUP;
    let step = (vectors.len() / dim).div_ceil(2048).max(1);
    let (mut sum, mut values) = (vec![0f64; width], vec![0f32; width]);
    let mut count = 0.0;
    for vector in vectors.chunks_exact(dim).step_by(step) {
        vectorized(
            level,
            #[inline(always)]
            || {
                normalize(level, vector, metric, &mut values);
                for (total, x) in sum.iter_mut().zip(&values) {
                    *total += f64::from(*x);
                }
            },
        );
        count += 1.0;
    }
    sum.into_iter()
        .map(|total| (total / count) as f32)
        .collect()
}

/// Copy a vector, of unit length under cosine; what is beyond its end becomes zero.
#[inline(always)]
pub fn normalize(level: Level, vector: &[f32], metric: Metric, out: &mut [f32]) {
    let (out, beyond) = out.split_at_mut(vector.len());
    // A thread's scratch may come from a store of more dimensions.
    beyond.fill(0.0);
    if metric != Metric::Cosine {
        out.copy_from_slice(vector);
        return;
    }
    let square = dot(level, vector, vector);
    if !(1e-30..1e30).contains(&square) {
        out.copy_from_slice(vector);
        return normalize_extreme(out);
    }
    let inverse = 1.0 / square.sqrt();
    for (value, x) in out.iter_mut().zip(vector) {
        *value = x * inverse;
    }
}

/// The same where squares of float32 overflow or vanish.
#[cold]
#[inline(never)]
pub(crate) fn normalize_extreme(out: &mut [f32]) {
    let largest = out.iter().fold(0f32, |most, x| most.max(x.abs()));
    for value in out.iter_mut() {
        *value /= largest;
    }
    let inverse = 1.0 / dot_f32(out, out).sqrt();
    out.iter_mut().for_each(|x| *x *= inverse);
}
