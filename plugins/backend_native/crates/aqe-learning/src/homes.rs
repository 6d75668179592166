//! Values and visits of (state, action) pairs, and what states are worth, for all shards in one place.
//!
//! Actions are numbered as they appear and fall into tiles of 11. A state owns one *home*: a block of cells for the
//! first tile, and its worth. Worths lie apart: they are read more than all else, and so stay in the cache.
//!
//! Homes are numbered through all shards, so that whoever has such a number needs no look at a shard. A shard takes
//! them by the chunk, so that two threads seldom write to one cache line. All are read and written as atomic numbers,
//! which costs nothing where no order is asked for; who may use which is told by the locks of the shards.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::keys::Dense;
use crate::prefetch::ask;
use crate::roomy;
use crate::table::Rules;

/// Actions, and cells, per block.
pub(crate) const TILE: usize = 11;
/// Value of a pair that was never updated.
pub(crate) const NEVER: f64 = f64::NEG_INFINITY;
/// Home whose worth and values are the initial value; it belongs to no state.
pub(crate) const UNSEEN: u32 = 0;
/// Home whose worth and values are zero; it belongs to no state.
pub(crate) const TERMINAL: u32 = 1;
/// Homes that a shard takes at once.
pub(crate) const CHUNK: usize = 32;
const MAX_HOMES: usize = u32::MAX as usize / TILE; // the position of a cell fits into 32 bits

/// A number that threads share.
pub(crate) struct Number(AtomicU64);

impl Number {
    pub fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    #[inline(always)]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    #[inline(always)]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
}

/// A pair: its value; the number of its updates, and the number of the last of them, as
/// [`History`](crate::history::History) reads them.
#[repr(align(16))] // so that it lies in one cache line
pub(crate) struct Cell {
    pub value: Number,
    visits: AtomicU32,
    last: AtomicU32,
}

/// What one update did to a cell.
pub(crate) struct Step {
    pub old: f64,
    pub new: f64,
    /// The pair was not known before.
    pub first: bool,
}

impl Cell {
    pub fn new(value: f64) -> Self {
        Self {
            value: Number::new(value),
            visits: AtomicU32::new(0),
            last: AtomicU32::new(0),
        }
    }

    /// Visits and last update.
    pub fn counts(&self) -> (u32, u32) {
        (self.visits.load(Relaxed), self.last.load(Relaxed))
    }

    #[inline(always)]
    pub fn set_counts(&self, visits: u32, last: u32) {
        self.visits.store(visits, Relaxed);
        self.last.store(last, Relaxed);
    }

    /// Move a value towards `reward + discount * next`, by the update of this number. The order of operations is that
    /// of every backend.
    #[inline(always)]
    pub fn step(&self, reward: f64, next: f64, rules: &Rules, number: u32) -> Step {
        let held = self.value.get();
        let first = held == NEVER;
        let old = if first { rules.initial } else { held };
        let new = old + rules.learning_rate * (reward + rules.discount * next - old);
        self.value.set(new);
        self.set_counts(self.visits.load(Relaxed).wrapping_add(1), number);
        Step { old, new, first }
    }
}

/// The homes of all states of a table.
pub(crate) struct Homes {
    /// `TILE` of each home.
    pub cells: Vec<Cell>,
    /// What each home is worth; NaN: to be computed anew.
    pub worths: Vec<Number>,
    /// The homes of the states that are small integers.
    pub ints: Dense,
    owners: Vec<(usize, usize)>, // of each chunk: its shard, and the row of its first home there
    /// What a state is worth in which nothing was tried.
    pub initial: f64,
}

impl Homes {
    /// No homes but those that belong to no state.
    pub fn new(initial: f64) -> Self {
        let mut homes = Self {
            cells: Vec::new(),
            worths: Vec::new(),
            ints: Dense::default(),
            owners: Vec::new(),
            initial,
        };
        homes.add_chunk(0, 0);
        for (home, value) in [(UNSEEN, initial), (TERMINAL, 0.0)] {
            homes.worths[home as usize].set(value);
            homes
                .block(home)
                .iter()
                .for_each(|cell| cell.value.set(value));
        }
        homes
    }

    /// Make the homes of the rows from this one on of a shard; return the first. O(1) amortized.
    pub fn add_chunk(&mut self, shard: usize, row: usize) -> u32 {
        let first = self.worths.len();
        assert!(
            first + CHUNK <= MAX_HOMES,
            "a table holds fewer than 2**32 / 11 states"
        );
        roomy::reserve(&mut self.cells, CHUNK * TILE);
        self.cells
            .extend((0..CHUNK * TILE).map(|_| Cell::new(NEVER)));
        roomy::reserve(&mut self.worths, CHUNK);
        self.worths
            .extend((0..CHUNK).map(|_| Number::new(self.initial)));
        self.owners.push((shard, row));
        first as u32
    }

    /// The shard of a home that belongs to a state, and its row there.
    pub fn owner(&self, home: u32) -> (usize, usize) {
        let (shard, row) = self.owners[home as usize / CHUNK];
        (shard, row + home as usize % CHUNK)
    }

    /// The cells of a home.
    #[inline(always)]
    pub fn block(&self, home: u32) -> &[Cell] {
        &self.cells[home as usize * TILE..][..TILE]
    }

    /// Let every state's worth be computed anew.
    pub fn doubt(&self) {
        let of_states = &self.worths[CHUNK..];
        of_states.iter().for_each(|worth| worth.set(f64::NAN));
    }

    /// Ask for what an update of a pair will touch, without waiting for it.
    #[inline(always)]
    pub fn prefetch(&self, home: u32, column: usize) {
        ask(&self.worths, home as usize);
        ask(&self.cells, home as usize * TILE + column % TILE);
    }
}
