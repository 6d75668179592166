//! A hierarchical navigable small world graph over the rows of a store (Malkov and Yashunin, TPAMI 2020).
//!
//! The graph holds links and half a square for each row, and no vectors: nearness is told by the upper plane of the
//! rows, half a byte a dimension, and what a search finds is scored by all planes as in a store of lists. Links are
//! chosen by Euclidean distance under every metric; a search walks them by the store's own.
//!
//! Rows are entered in batches: the rows of one batch look for their neighbours in the graph without the others, so
//! that the outcome does not depend on the number of threads (as in ParlayANN, Manohar et al., PPoPP 2024). A row
//! that leaves stays as a signpost until the links to it are replaced by links to what it linked to (as in
//! FreshDiskANN, Singh et al., 2021); until then its number is not used again.

mod beam;
mod enter;
mod mend;
mod point;
mod saved;

mod work;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub use beam::Beam;
pub use enter::Proposal;
pub use point::Point;
pub(crate) use work::GraphTask;

use crate::random::Random;

/// Links that a new row chooses at each level, and the most that a row has at the upper ones.
pub const M: usize = 16;

/// The most links that a row has at the lowest level.
pub const M0: usize = 2 * M;

/// Rows that are looked at when neighbours of a row are chosen.
pub const WIDTH: usize = 128;

/// Marks the place of a row that is in the graph among the places of a row.
pub const GRAPH: u32 = (1 << 31) - 1;

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// Rows that are allocated together.
const CHUNK: usize = 1024;

/// Levels that rows are drawn for, less one.
const TOP: u32 = 12;

/// Links of a row at the lowest level: row numbers, then `NONE`. Two cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Links([u32; M0]);

/// Links of the rows of an upper level.
pub(crate) type Layer = HashMap<u32, [u32; M], BuildHasherDefault<Mixed>>;

/// Hashes a row number by one multiplication.
#[derive(Default)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte) ^ self.0 as u32);
        }
    }

    fn write_u32(&mut self, number: u32) {
        let product = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

/// The graph. A row is a vertex of it from [`Graph::admit`] on until [`Graph::forget`].
pub struct Graph {
    bottom: Vec<Vec<Links>>,
    /// Half the squared length of each row less the mean; not a number where there is no vertex.
    halves: Vec<f32>,
    /// Upper levels; the lowest of them is first.
    layers: Vec<Layer>,
    entry: Option<u32>,
    len: usize,
    /// Whether rows are entered until none is left in the tail.
    pub draining: bool,
}

impl Graph {
    /// Without rows, about to be filled.
    pub fn new() -> Graph {
        Graph {
            bottom: Vec::new(),
            halves: Vec::new(),
            layers: Vec::new(),
            entry: None,
            len: 0,
            draining: true,
        }
    }

    /// Vertices, those of rows that left included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a row number is a vertex.
    pub fn has(&self, row: u32) -> bool {
        self.halves
            .get(row as usize)
            .is_some_and(|half| !half.is_nan())
    }

    /// Half the squared length of a vertex.
    #[inline]
    fn half(&self, row: u32) -> f32 {
        self.halves[row as usize]
    }

    /// The links of a vertex at a level.
    #[inline]
    fn links(&self, level: usize, row: u32) -> &[u32] {
        let all: &[u32] = match level.checked_sub(1) {
            None => &self.bottom[row as usize / CHUNK][row as usize % CHUNK].0,
            Some(upper) => self.layers[upper].get(&row).map_or(&[], |links| links),
        };
        let count = all.iter().position(|&link| link == NONE);
        &all[..count.unwrap_or(all.len())]
    }

    /// Ask for the links of a vertex at the lowest level.
    #[inline]
    fn prefetch_links(&self, row: u32) {
        crate::kernels::prefetch(&self.bottom[row as usize / CHUNK][row as usize % CHUNK].0);
    }

    /// The most links that a vertex has at a level.
    fn most(level: usize) -> usize {
        if level == 0 { M0 } else { M }
    }

    fn set_links(&mut self, level: usize, row: u32, links: &[u32]) {
        if let Some(upper) = level.checked_sub(1) {
            let entry = self.layers[upper].entry(row).or_insert([NONE; M]);
            entry.fill(NONE);
            entry[..links.len()].copy_from_slice(links);
        } else {
            let entry = &mut self.bottom[row as usize / CHUNK][row as usize % CHUNK].0;
            entry.fill(NONE);
            entry[..links.len()].copy_from_slice(links);
        }
    }

    /// Make a row a vertex with these links for each level. Nothing links to it yet.
    pub(crate) fn admit(&mut self, row: u32, half: f32, links: &[Vec<u32>]) {
        while self.halves.len() <= row as usize {
            self.bottom.push(vec![Links([NONE; M0]); CHUNK]);
            self.halves.resize(self.bottom.len() * CHUNK, f32::NAN);
        }
        self.halves[row as usize] = half.min(f32::MAX);
        self.len += 1;
        let highest = links.len().saturating_sub(1);
        for (level, links) in links.iter().enumerate() {
            if level > self.layers.len() {
                self.layers.push(Layer::default());
                self.entry = Some(row);
            } else if level > 0 && level == highest && links.is_empty() {
                continue; // the level was begun by another row of the batch; levels below hold every row above them
            }
            self.set_links(level, row, links);
        }
        self.entry.get_or_insert(row);
    }

    /// Let vertices go that nothing links to any more; `living` are candidates for the place where searches begin.
    pub(crate) fn forget(&mut self, rows: &[u32], living: impl Iterator<Item = u32>) {
        for &row in rows {
            if !self.has(row) {
                continue;
            }
            self.len -= 1;
            self.halves[row as usize] = f32::NAN;
            self.set_links(0, row, &[]);
            for layer in &mut self.layers {
                layer.remove(&row);
            }
        }
        while self.layers.last().is_some_and(Layer::is_empty) {
            self.layers.pop();
        }
        let stays = |row: &u32| match self.layers.last() {
            Some(layer) => layer.contains_key(row),
            None => self.has(*row),
        };
        if self.entry.is_none_or(|row| !stays(&row)) {
            let least = self.layers.last().and_then(|layer| layer.keys().min());
            let mut living = living.filter(|&row| self.has(row));
            self.entry = least.copied().or_else(|| living.next());
        }
    }

    /// Rows of a level, ascending; of the upper ones only.
    fn rows_of(&self, level: usize) -> Vec<u32> {
        let mut rows: Vec<u32> = self.layers[level - 1].keys().copied().collect();
        rows.sort_unstable();
        rows
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        let upper: usize = self.layers.iter().map(Layer::capacity).sum();
        self.bottom.len() * CHUNK * size_of::<Links>()
            + 4 * self.halves.capacity()
            + upper * (size_of::<[u32; M]>() + 5)
    }
}

impl Default for Graph {
    fn default() -> Graph {
        Graph::new()
    }
}

/// The highest level of a row: one in `M` of the rows of a level is in the next one. Drawn from its key, so that it
/// does not depend on when the row came.
pub fn level_of(key: u64, seed: u64) -> usize {
    let bits = Random::new(key ^ seed.rotate_left(32)).bits();
    (bits.trailing_zeros() / M.trailing_zeros()).min(TOP) as usize
}
