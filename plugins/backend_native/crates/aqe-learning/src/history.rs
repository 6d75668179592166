//! How often and when pairs were updated, beyond what 32 bits beside their values can tell.
//!
//! Beside a value lie the updates since some one, the shard's border, and the lower half of the number of the last.
//! Before numbers would pass the border by 2**32 all that lies there is added to 64-bit numbers here, and the border
//! moves. Until then nothing here takes memory.

use crate::table::{Block, Cell, TILE};

/// Where a pair's cell is: in a home, or in an extra block.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub is_extra: bool,
    pub block: usize,
    pub offset: usize,
}

/// What was learned of a pair before the border.
#[derive(Clone, Copy, Default)]
struct Past {
    visits: u64,
    last: u64,
}

/// Of one list of blocks, what was learned of their pairs before the border; shorter than the list where there is none.
#[derive(Default)]
struct Pasts(Vec<[Past; TILE]>);

impl Pasts {
    fn at(&self, block: usize, offset: usize) -> Past {
        self.0
            .get(block)
            .map_or_else(Past::default, |pasts| pasts[offset])
    }

    fn take(&mut self, blocks: &mut [Block], border: u64) {
        self.0.resize(blocks.len(), Default::default());
        for (block, pasts) in blocks.iter_mut().zip(&mut self.0) {
            for (cell, past) in block.cells.iter_mut().zip(pasts) {
                *past = added(cell, *past, border);
                (cell.visits, cell.last) = (0, 0);
            }
        }
    }
}

/// The whole of what is told in a cell and before it.
fn added(cell: &Cell, past: Past, border: u64) -> Past {
    if cell.visits == 0 {
        return past;
    }
    Past {
        visits: past.visits.wrapping_add(u64::from(cell.visits)),
        last: border + u64::from(cell.last.wrapping_sub(border as u32)),
    }
}

/// The border of a shard, and what lies before it.
pub(crate) struct History {
    border: u64,
    homes: Pasts,
    extra: Pasts,
}

impl History {
    /// The history of a shard that begins after so many updates.
    pub fn new(steps: u64) -> Self {
        Self {
            // As long as 32 bits do, everything lies in the cells.
            border: if u32::try_from(steps).is_ok() {
                0
            } else {
                steps
            },
            homes: Pasts::default(),
            extra: Pasts::default(),
        }
    }

    /// Let updates `first` to `last` come: at most 2**32 - 1, and all later than any before.
    #[inline]
    pub fn make_room(&mut self, first: u64, last: u64, homes: &mut [Block], extra: &mut [Block]) {
        if last - self.border > u64::from(u32::MAX) {
            self.move_border(first - 1, homes, extra);
        }
    }

    #[cold]
    fn move_border(&mut self, border: u64, homes: &mut [Block], extra: &mut [Block]) {
        self.homes.take(homes, self.border);
        self.extra.take(extra, self.border);
        self.border = border;
    }

    /// Number of updates of a pair, and number of its last one.
    pub fn of(&self, cell: &Cell, at: Spot) -> (u64, u64) {
        let pasts = if at.is_extra {
            &self.extra
        } else {
            &self.homes
        };
        let whole = added(cell, pasts.at(at.block, at.offset), self.border);
        (whole.visits, whole.last)
    }

    /// Enter both for a pair that was not known.
    pub fn enter(&mut self, cell: &mut Cell, at: Spot, visits: u64, last: u64) {
        if self.border == 0 {
            // All updates together are no more than 32 bits tell.
            (cell.visits, cell.last) = (visits as u32, last as u32);
            return;
        }
        let pasts = if at.is_extra {
            &mut self.extra.0
        } else {
            &mut self.homes.0
        };
        if pasts.len() <= at.block {
            pasts.resize(at.block + 1, Default::default());
        }
        pasts[at.block][at.offset] = Past { visits, last };
    }
}
