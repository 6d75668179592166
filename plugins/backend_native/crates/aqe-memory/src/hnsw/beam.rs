//! The walk through the graph.

use super::Graph;

/// Marks an entry of the pool from which the walk went on already.
const WALKED: u32 = 1 << 31;

/// Scratch of a walk.
#[derive(Default)]
pub struct Beam {
    /// The best rows met, best first.
    pool: Vec<(f32, u32)>,
    /// A bit for each row number; all are unset between walks.
    seen: Vec<u64>,
    marked: Vec<u32>,
    fresh: Vec<u32>,
    /// A vertex that is not gone to, as if it were not there.
    pub(crate) barred: Option<u32>,
    /// Rows that were compared since [`Beam::start`].
    pub compared: usize,
}

impl Beam {
    /// Begin to count.
    pub fn start(&mut self) {
        self.compared = 0;
        self.pool.clear();
    }

    /// The best rows of the last walk, best first.
    pub fn found(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        self.pool.iter().map(|&(near, row)| (near, row & !WALKED))
    }

    /// Go to a nearest vertex of each level above `above`, from the highest on; the pool is that vertex then.
    pub fn descend(
        &mut self,
        graph: &Graph,
        above: usize,
        fetch: &impl Fn(u32),
        near: &impl Fn(u32) -> f32,
    ) {
        self.pool.clear();
        let Some(mut at) = graph.entry else { return };
        let mut best = number(near(at));
        for level in (above + 1..=graph.layers.len()).rev() {
            loop {
                let links = graph.links(level, at);
                links.iter().for_each(|&row| fetch(row));
                self.compared += links.len();
                let before = at;
                for &row in links.iter().filter(|&&row| self.barred != Some(row)) {
                    let value = number(near(row));
                    if value > best {
                        (best, at) = (value, row);
                    }
                }
                if at == before {
                    break;
                }
            }
        }
        self.pool.push((best, at));
    }

    /// Fill the pool with the best `width` vertices of a level that are met from those in it.
    pub fn walk(
        &mut self,
        graph: &Graph,
        level: usize,
        width: usize,
        fetch: &impl Fn(u32),
        near: &impl Fn(u32) -> f32,
    ) {
        self.seen.resize(graph.halves.len().div_ceil(64), 0);
        self.pool.truncate(width);
        for i in 0..self.pool.len() {
            self.pool[i].1 &= !WALKED;
            let row = self.pool[i].1;
            self.is_new(row);
        }
        if let Some(row) = self.barred {
            self.is_new(row);
        }
        let mut at = 0;
        while at < self.pool.len() {
            let row = self.pool[at].1;
            if row & WALKED != 0 {
                at += 1;
                continue;
            }
            self.pool[at].1 |= WALKED;
            at += 1;
            self.fresh.clear();
            for &link in graph.links(level, row) {
                if self.is_new(link) {
                    fetch(link);
                    self.fresh.push(link);
                }
            }
            if level == 0
                && let Some(&(_, next)) = self.pool.get(at)
            {
                graph.prefetch_links(next & !WALKED);
            }
            self.compared += self.fresh.len();
            for i in 0..self.fresh.len() {
                let row = self.fresh[i];
                at = at.min(self.offer(number(near(row)), row, width));
            }
        }
        for row in self.marked.drain(..) {
            self.seen[row as usize / 64] = 0;
        }
    }

    fn is_new(&mut self, row: u32) -> bool {
        let (word, bit) = (&mut self.seen[row as usize / 64], 1 << (row % 64));
        let new = *word & bit == 0;
        if new {
            *word |= bit;
            self.marked.push(row);
        }
        new
    }

    /// Put a row in its place in the pool, and return the place; the pool's length if it is not good enough.
    #[inline]
    fn offer(&mut self, near: f32, row: u32, width: usize) -> usize {
        if self.pool.len() == width {
            if near <= self.pool[width - 1].0 {
                return width;
            }
            self.pool.pop();
        }
        let place = self.pool.partition_point(|&(other, _)| other >= near);
        self.pool.insert(place, (near, row));
        place
    }
}

/// Values so large that they are no number any more come last.
#[inline]
fn number(value: f32) -> f32 {
    if value.is_nan() {
        f32::NEG_INFINITY
    } else {
        value
    }
}
