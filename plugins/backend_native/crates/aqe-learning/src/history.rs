//! How often and when pairs were updated, beyond what 32 bits beside their values can tell.
//!
//! Beside a value lie the updates since some one, the shard's border, and the lower half of the number of the last.
//! Before numbers would pass the border by 2**32 all that lies there is added to 64-bit numbers here, and the border
//! moves. Until then nothing here takes memory.

use crate::table::Cell;

/// Where a pair's cell is: among those of homes, or of further blocks.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub is_extra: bool,
    pub cell: usize,
}

/// What was learned of a pair before the border.
#[derive(Clone, Copy, Default)]
struct Past {
    visits: u64,
    last: u64,
}

/// The whole of what is told in a cell and before it.
fn whole(cell: &Cell, past: Past, border: u64) -> Past {
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
    homes: Vec<Past>, // by cell; shorter where there is none
    extra: Vec<Past>,
}

impl History {
    /// The history of a shard that begins after so many updates.
    pub fn new(steps: u64) -> Self {
        // As long as 32 bits do, everything lies in the cells.
        let all_in_cells = u32::try_from(steps).is_ok();
        Self {
            border: if all_in_cells { 0 } else { steps },
            homes: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Let updates `first` to `last` come: at most 2**32 - 1, and all later than any before.
    #[inline]
    pub fn make_room(&mut self, first: u64, last: u64, homes: &mut [Cell], extra: &mut [Cell]) {
        if last - self.border > u64::from(u32::MAX) {
            self.move_border(first - 1, homes, extra);
        }
    }

    #[cold]
    fn move_border(&mut self, border: u64, homes: &mut [Cell], extra: &mut [Cell]) {
        for (cells, pasts) in [(homes, &mut self.homes), (extra, &mut self.extra)] {
            pasts.resize(cells.len(), Past::default());
            for (cell, past) in cells.iter_mut().zip(pasts) {
                *past = whole(cell, *past, self.border);
                (cell.visits, cell.last) = (0, 0);
            }
        }
        self.border = border;
    }

    /// Number of updates of a pair, and number of its last one.
    pub fn of(&self, cell: &Cell, at: Spot) -> (u64, u64) {
        let pasts = if at.is_extra {
            &self.extra
        } else {
            &self.homes
        };
        let past = pasts.get(at.cell).copied().unwrap_or_default();
        let whole = whole(cell, past, self.border);
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
            &mut self.extra
        } else {
            &mut self.homes
        };
        if pasts.len() <= at.cell {
            pasts.resize(at.cell + 1, Past::default());
        }
        pasts[at.cell] = Past { visits, last };
    }
}
