//! The store: a state behind a lock, and the work that is done beside the calls.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::centroids::{Centroids, Chosen, Sample, TOGETHER};
use crate::code::{self, Factors};
use crate::hnsw::{Graph, GraphTask};
use crate::kernels::vectorized;
use crate::list::{List, NO_ROW};
use crate::panels::Panels;
use crate::random::Random;
use crate::rows::{NOWHERE, distance};
use crate::search::{Effort, Scratch};
use crate::spill::spill;
use crate::state::{Buffers, Lists, SEGMENT, State};
use crate::{BadRow, Index, Options};

/// Fills the keys of an answer where there were fewer rows than wanted.
pub const NO_KEY: u64 = u64::MAX;

/// Rows that are read under one lock by work beside the calls.
const BATCH: usize = 128;

/// Rows in the tail from which they are merged into the lists.
const MERGE_FROM: usize = 1024;

/// Queries from which a batch is divided among threads.
const DIVIDE_FROM: usize = 64;

/// What a store can tell about itself.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Rows.
    pub rows: usize,
    /// Rows that are in no list yet (all of them, if there are no lists).
    pub tail: usize,
    /// Lists; 0 if there are none.
    pub lists: usize,
    /// Rows in the graph; 0 if there is none.
    pub graph: usize,
    /// Lists that a search scans.
    pub probes: usize,
    /// Rows that a search refines.
    pub refine: usize,
    /// Measured recall at 10; NaN if not measured.
    pub recall: f64,
    /// Memory taken.
    pub bytes: usize,
    /// Instructions in use.
    pub simd: &'static str,
    /// Whether the store works beside the calls at this moment.
    pub working: bool,
}

/// What is to be done beside the calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    Learn(usize),
    Merge,
    Graph(GraphTask),
    Tune,
}

/// A store that many threads may use at once.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    state: RwLock<State>,
    pub(crate) work: Mutex<()>,
    working: AtomicBool,
    alive: AtomicUsize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Store {
    /// An empty store.
    pub fn new(options: Options) -> Store {
        let state = RwLock::new(State::new(&options));
        let (work, working, alive) = (Mutex::new(()), AtomicBool::new(false), AtomicUsize::new(0));
        Store {
            shared: Arc::new(Shared {
                options,
                state,
                work,
                working,
                alive,
            }),
        }
    }

    /// How it was made.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.shared.alive.load(Ordering::Acquire)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys, ascending.
    pub fn keys(&self) -> Vec<u64> {
        let state = self.shared.read();
        let mut keys: Vec<u64> = state
            .rows
            .map
            .rows()
            .map(|row| state.rows.keys[row as usize])
            .collect();
        drop(state);
        keys.sort_unstable();
        keys
    }

    /// Add rows or replace them; of equal keys the last row counts. Panics if a vector is not finite or, under cosine,
    /// zero.
    pub fn add(&self, keys: &[u64], vectors: &[f32]) {
        self.append(keys, vectors)
            .expect("vectors are finite and, under cosine, not zero");
        self.settle();
    }

    /// Do what `add` does but for the work that has come up, which `settle` does or begins. If a vector is not finite
    /// or, under cosine, zero, nothing is changed, unless another thread changes the vectors meanwhile.
    pub fn append(&self, keys: &[u64], vectors: &[f32]) -> Result<(), BadRow> {
        assert_eq!(keys.len() * self.shared.options.dim, vectors.len());
        self.shared.add(keys, vectors)
    }

    /// Do or begin the work that has come up by rows that were appended.
    pub fn settle(&self) {
        self.shared.write().tidy();
        self.start_work();
    }

    /// Remove keys; return how many distinct ones were there.
    pub fn remove(&self, keys: &[u64]) -> usize {
        let mut count = 0;
        for keys in keys.chunks(SEGMENT / 4) {
            let mut state = self.shared.write();
            count += state.remove(keys);
            self.shared.note_alive(state.rows.alive());
        }
        self.start_work();
        count
    }

    /// Find the k best rows of each query, of all rows or `among` some keys. Answers have k places for each query.
    pub fn search(
        &self,
        queries: &[f32],
        k: usize,
        ef: Option<usize>,
        exact: bool,
        among: Option<&[u64]>,
        out: (&mut [u64], &mut [f32]),
    ) {
        let dim = self.shared.options.dim;
        let count = queries.len() / dim;
        let threads = if count < DIVIDE_FROM {
            1
        } else {
            self.shared.options.threads
        };
        if threads <= 1 {
            return self.shared.search(queries, k, ef, exact, among, out);
        }
        let share = count.div_ceil(threads);
        std::thread::scope(|scope| {
            let parts = out.0.chunks_mut(share * k).zip(out.1.chunks_mut(share * k));
            for (queries, part) in queries.chunks(share * dim).zip(parts) {
                scope.spawn(move || self.shared.search(queries, k, ef, exact, among, part));
            }
        });
    }

    /// The scores of keys for a query, in their order, as a search among them gives; NaN for those not there.
    ///
    /// `guesses` are the numbers that the rows of keys may have; where they have, nothing is looked up. The query is
    /// computed while what it will be compared with comes from memory.
    pub fn scores(
        &self,
        keys: &[u64],
        guesses: &[u32],
        query: impl FnOnce() -> Vec<f32>,
    ) -> Vec<f32> {
        let state = self.shared.read();
        let rows = state.rows_of(keys, guesses);
        state.fetch_first(&rows);
        let query = query();
        SCRATCH.with_borrow_mut(|scratch| state.scores(&query, &rows, scratch))
    }

    /// Finish all work that is done beside the calls: learn lists, merge the tail, measure recall.
    pub fn optimize(&self) {
        self.shared.work(true);
    }

    /// What the store can tell about itself.
    pub fn stats(&self) -> Stats {
        let state = self.shared.read();
        Stats {
            rows: state.rows.alive(),
            tail: state.in_tail(),
            lists: state.lists.as_ref().map_or(0, |lists| lists.lists.len()),
            graph: state.graph.as_ref().map_or(0, Graph::len) - state.parked.len(),
            probes: state.tuning.probes,
            refine: state.tuning.refine,
            recall: state.tuning.recall,
            bytes: state.bytes(),
            simd: self.shared.options.level.name(),
            working: self.shared.working.load(Ordering::Acquire),
        }
    }

    pub(crate) fn start_work(&self) {
        let shared = &self.shared;
        if shared.next_task(false).is_none() {
            return;
        }
        if !shared.options.background {
            shared.work(false);
        } else if !shared.working.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                loop {
                    shared.work(false);
                    shared.working.store(false, Ordering::Release);
                    // Work that came up after the last look is taken, unless another thread has.
                    if shared.next_task(false).is_none()
                        || shared.working.swap(true, Ordering::AcqRel)
                    {
                        return;
                    }
                }
            });
        }
    }
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state
            .read()
            .expect("no thread panics while it changes a store")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state
            .write()
            .expect("no thread panics while it changes a store")
    }

    pub(crate) fn note_alive(&self, rows: usize) {
        self.alive.store(rows, Ordering::Release);
    }

    /// Note what has grown, and let go of an index that has outgrown its use.
    pub(crate) fn has_grown(&self, mut state: RwLockWriteGuard<State>) {
        if state.is_overgrown() {
            state.leave_index();
        }
        self.note_alive(state.rows.alive());
    }

    fn search(
        &self,
        queries: &[f32],
        k: usize,
        ef: Option<usize>,
        exact: bool,
        among: Option<&[u64]>,
        (keys, scores): (&mut [u64], &mut [f32]),
    ) {
        SCRATCH.with_borrow_mut(|scratch| {
            let answers = keys.chunks_exact_mut(k).zip(scores.chunks_exact_mut(k));
            for (query, (keys, scores)) in queries.chunks_exact(self.options.dim).zip(answers) {
                let state = self.read();
                if let Some(among) = among {
                    let rows = rows_of(&state, among);
                    state.search_among(query, k, &rows, scratch);
                } else {
                    let effort = state.effort(k, ef, exact);
                    state.search(query, k, effort, scratch);
                }
                drop(state);
                let found = scratch.top.len();
                for (i, &(score, key)) in scratch.top.iter().enumerate() {
                    (keys[i], scores[i]) = (key, score);
                }
                keys[found..].fill(NO_KEY);
                scores[found..].fill(f32::NEG_INFINITY);
            }
        });
    }

    fn next_task(&self, all: bool) -> Option<Task> {
        let state = self.read();
        let n = state.rows.alive();
        let from = match self.options.index {
            Index::Flat => usize::MAX,
            Index::Auto => 4096,
            Index::Lists | Index::Hnsw => 256,
        };
        let graph = self.options.index == Index::Hnsw;
        if graph
            && n >= from
            && !state.is_young()
            && let Some(task) = state.graph_task(all, MERGE_FROM)
        {
            return Some(Task::Graph(task));
        }
        if !graph && n >= from && !state.is_young() {
            let stale = state.lists.as_ref().is_none_or(|lists| {
                let drifted = lists.merged > (lists.learned_on / 10).max(1000)
                    && lists.merged_error > 1.3 * lists.error * lists.merged as f64;
                n >= 2 * lists.learned_on || 4 * n < lists.learned_on || drifted
            });
            if stale {
                return Some(Task::Learn(list_count(n)));
            }
        }
        let tail = state.in_tail();
        if state.lists.is_some() && (tail >= MERGE_FROM || all && tail > 0) {
            return Some(Task::Merge);
        }
        let measured = state.tuning.measured_on;
        let due = measured == 0 || 2 * n >= 3 * measured || 2 * n < measured;
        (n >= 256 && due).then_some(Task::Tune)
    }

    fn work(&self, all: bool) {
        let _turn = self
            .work
            .lock()
            .expect("no thread panics while it works on a store");
        while let Some(task) = self.next_task(all) {
            match task {
                Task::Learn(count) => self.learn(count),
                Task::Merge => self.merge(),
                Task::Graph(task) => self.do_graph(task),
                Task::Tune => {
                    if !self.tune_steadily() {
                        // The lists do not help: one that holds all rows is scanned in half the time.
                        self.learn(1);
                        self.tune();
                    }
                }
            }
        }
    }

    fn merge(&self) {
        let mut buffers = {
            let mut state = self.write();
            state.watch();
            Buffers::new(state.rows.width)
        };
        let moves = self.moves(&mut buffers);
        // Lists are replaced by this thread only: what was chosen still holds.
        let mut state = self.write();
        state.merge(&moves, &mut buffers);
        state.tidy();
    }

    /// Choose lists for rows of the tail. Returns for each its number, its segment and what was chosen.
    fn moves(&self, buffers: &mut Buffers) -> Vec<(u32, u32, Chosen)> {
        let state = self.read();
        let mut moves = Vec::with_capacity(BATCH);
        let Some(lists) = &state.lists else {
            return moves;
        };
        let waiting = state
            .tail
            .iter()
            .flat_map(|segment| segment.rows())
            .filter(|&&row| row != NO_ROW);
        for &row in waiting.take(BATCH) {
            let from = state.rows.places[row as usize][0];
            let (centroids, level) = (&lists.centroids, self.options.level);
            let scale = state.load(row, buffers);
            let Buffers {
                bytes,
                centred,
                products,
                ranking,
                ..
            } = buffers;
            centroids.products(level, bytes, products);
            moves.push((
                row,
                from,
                centroids.choose(level, scale, centred, products, ranking),
            ));
        }
        moves
    }

    fn learn(&self, count: usize) {
        let (rows, mean) = {
            let mut state = self.write();
            if state.rows.alive() < count {
                return; // rows have left since: what is to be done is another thing now
            }
            state.begin_build();
            (
                state.rows.living().collect::<Vec<u32>>(),
                state.rows.mean.clone(),
            )
        };
        let (level, metric) = (self.options.level, self.options.metric);
        let centroids = if count == 1 {
            Centroids::new(level, &vec![0.0; mean.len()], &mean, metric)
        } else {
            let sample = self.sample(&rows, count * 48);
            let Options { seed, threads, .. } = self.options;
            Centroids::learn(level, &sample, count, &mean, metric, seed, threads)
        };
        let (places, spill, error) = self.place(&rows, &centroids);
        let filled = self.fill(&rows, &places, &centroids, &mean);
        let (lists, radii) = filled.into_iter().unzip();
        let centroids = centroids.with_radii(level, radii, &mean);
        let mut state = self.write();
        let learned_on = rows.len();
        state.install(
            Lists {
                centroids,
                lists,
                spill,
                learned_on,
                error,
                merged_error: 0.0,
                merged: 0,
            },
            &places,
        );
    }

    fn sample(&self, rows: &[u32], count: usize) -> Sample {
        let chosen = Random::new(self.options.seed ^ 0x5eed).sample(rows.to_vec(), count);
        let (mut bytes, mut scales) = (Vec::new(), Vec::with_capacity(chosen.len()));
        for batch in chosen.chunks(BATCH) {
            let state = self.read();
            let width = state.rows.width;
            let mut integers = vec![0; width];
            for &row in batch {
                let start = bytes.len();
                bytes.resize(start + width, 0);
                scales.push(4.0 * state.rows.bytes_of(row, &mut integers, &mut bytes[start..]));
            }
        }
        Sample { bytes, scales }
    }

    /// Choose lists for rows. Returns one or two lists by row number, up to which ratio there are two, and the mean
    /// squared distance to the first.
    fn place(&self, rows: &[u32], centroids: &Centroids) -> (Vec<[u32; 2]>, f32, f64) {
        let mut chosen = vec![Chosen::alone(0); rows.len()];
        let share = rows.len().div_ceil(self.options.threads).max(1);
        let panels = &centroids.panels(self.options.level);
        let errors: Vec<f64> = std::thread::scope(|scope| {
            let parts = rows.chunks(share).zip(chosen.chunks_mut(share));
            let threads: Vec<_> = parts
                .map(|(rows, out)| {
                    scope.spawn(move || self.place_part(rows, centroids, panels, out))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("choosing lists does not panic"))
                .collect()
        });
        let mut places = vec![[NOWHERE; 2]; rows.last().map_or(0, |&row| row as usize + 1)];
        let (pairs, bound) = spill(&chosen, centroids.count);
        for (&row, pair) in rows.iter().zip(pairs) {
            places[row as usize] = pair;
        }
        (
            places,
            bound,
            errors.iter().sum::<f64>() / rows.len().max(1) as f64,
        )
    }

    fn place_part(
        &self,
        rows: &[u32],
        centroids: &Centroids,
        panels: &Panels,
        out: &mut [Chosen],
    ) -> f64 {
        let (level, width) = (self.options.level, centroids.width);
        let mut buffers = Buffers::new(width);
        let (mut bytes, mut centred) = (vec![0; TOGETHER * width], vec![0.0; TOGETHER * width]);
        let (mut scales, mut products) = ([0.0; TOGETHER], vec![0; TOGETHER * panels.stride()]);
        let mut error = 0.0;
        for (batch, out) in rows.chunks(TOGETHER).zip(out.chunks_mut(TOGETHER)) {
            let state = self.read();
            for (i, &row) in batch.iter().enumerate() {
                scales[i] = state.load(row, &mut buffers);
                bytes[i * width..][..width].copy_from_slice(&buffers.bytes);
                centred[i * width..][..width].copy_from_slice(&buffers.centred);
            }
            drop(state);
            panels.products(&bytes[..batch.len() * width], &mut products);
            for (i, chosen) in out.iter_mut().enumerate() {
                let centred = &centred[i * width..][..width];
                let products = &products[i * panels.stride()..];
                let work = &mut buffers.ranking;
                *chosen = centroids.choose(level, scales[i], centred, products, work);
                error += centroids.error(chosen.first, centred);
            }
        }
        error
    }

    /// Encode rows into their lists. Beside each its radius, the root of the mean square of the distances.
    fn fill(
        &self,
        rows: &[u32],
        places: &[[u32; 2]],
        centroids: &Centroids,
        mean: &[f32],
    ) -> Vec<(List, f32)> {
        let mut starts = vec![0u32; centroids.count + 1];
        let pairs = || {
            rows.iter()
                .flat_map(|&row| places[row as usize].map(|list| (row, list)))
        };
        for (_, list) in pairs().filter(|pair| pair.1 != NOWHERE) {
            starts[list as usize + 1] += 1;
        }
        for i in 0..centroids.count {
            starts[i + 1] += starts[i];
        }
        let mut ends = starts.clone();
        let mut sorted = vec![0u32; starts[centroids.count] as usize];
        for (row, list) in pairs().filter(|pair| pair.1 != NOWHERE) {
            sorted[ends[list as usize] as usize] = row;
            ends[list as usize] += 1;
        }
        let numbers: Vec<u32> = (0..centroids.count as u32).collect();
        let share = numbers.len().div_ceil(self.options.threads);
        let (sorted, starts) = (&sorted, &starts);
        std::thread::scope(|scope| {
            let threads: Vec<_> = numbers
                .chunks(share)
                .map(|numbers| {
                    scope.spawn(move || {
                        let mut centre = vec![0.0; mean.len()];
                        let fill = |&list: &u32| {
                            centroids.centre(list, mean, &mut centre);
                            let (start, end) = (starts[list as usize], starts[list as usize + 1]);
                            self.fill_list(&sorted[start as usize..end as usize], &centre)
                        };
                        numbers.iter().map(fill).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("encoding does not panic"))
                .collect()
        })
    }

    fn fill_list(&self, rows: &[u32], centre: &[f32]) -> (List, f32) {
        let width = centre.len();
        let mut list = List::new(width / 8, rows.len());
        let mut squares = 0.0;
        let (mut integers, mut floats, mut signs) =
            (vec![0; width], vec![0.0; width], vec![0; width / 8]);
        for batch in rows.chunks(BATCH) {
            let state = self.read();
            for &row in batch {
                let factors = vectorized(
                    self.options.level,
                    #[inline(always)]
                    || {
                        state.rows.floats(row, &mut integers, &mut floats);
                        squares += f64::from(distance(&floats, centre));
                        code::encode(self.options.level, &floats, centre, &mut signs)
                    },
                );
                let offset = factors.offset - state.rows.half_square(row);
                list.push(row, &signs, Factors { offset, ..factors });
            }
        }
        let radius = (squares / rows.len().max(1) as f64).sqrt() as f32;
        // Squares of very long rows overflow: all lists are alike then.
        (list, if radius.is_finite() { radius } else { 0.0 })
    }

    /// Search with a given effort, for measuring.
    pub(crate) fn try_search(
        &self,
        query: &[f32],
        k: usize,
        effort: Effort,
        scratch: &mut Scratch,
    ) {
        self.read().search(query, k, effort, scratch);
    }
}

/// The rows of keys, each once.
fn rows_of(state: &State, keys: &[u64]) -> Vec<u32> {
    let mut rows: Vec<u32> = keys
        .iter()
        .filter_map(|&key| state.rows.map.get(key, &state.rows.keys))
        .collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Lists for n rows: about 48 rows a list, more where there are very many rows, as learning so many lists takes long.
fn list_count(n: usize) -> usize {
    (n / 48).min(2048 + n / 512).max(4)
}

#[cfg(test)]
mod tests;
