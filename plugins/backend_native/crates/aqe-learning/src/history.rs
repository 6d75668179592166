//! How often and when pairs were updated, beyond what 32 bits beside their values can tell.
//!
//! Beside a value lie the updates since some one, the shard's border, and the lower half of the number of the last.
//! Before numbers would pass the border by 2**32 all that lies there is added to 64-bit numbers here, and the border
//! moves. Until then nothing here takes memory.

use crate::homes::Cell;

/// Where a pair's cell is in its shard: among those of homes, by row, or of further blocks.
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
    let (visits, last) = cell.counts();
    if visits == 0 {
        return past;
    }
    Past {
        visits: past.visits.wrapping_add(u64::from(visits)),
        last: border + u64::from(last.wrapping_sub(border as u32)),
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

    /// Whether the cells can tell an update of this number.
    #[inline]
    pub fn has_room(&self, last: u64) -> bool {
        last - self.border <= u64::from(u32::MAX)
    }

    /// Take what all cells tell, of homes by row and of further blocks; they tell what comes after `border`.
    #[cold]
    pub fn move_border<'a>(
        &mut self,
        border: u64,
        homes: impl Iterator<Item = &'a Cell>,
        extra: &[Cell],
    ) {
        let old = self.border;
        let take = |cell: &Cell, past: &mut Past| {
            *past = whole(cell, *past, old);
            cell.set_counts(0, 0);
        };
        for (i, cell) in homes.enumerate() {
            if i == self.homes.len() {
                self.homes.push(Past::default());
            }
            take(cell, &mut self.homes[i]);
        }
        self.extra.resize(extra.len(), Past::default());
        for (cell, past) in extra.iter().zip(&mut self.extra) {
            take(cell, past);
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

    /// Enter both for a pair that was not known; return what its cell tells of them.
    pub fn enter(&mut self, at: Spot, visits: u64, last: u64) -> (u32, u32) {
        if self.border == 0 {
            // All updates together are no more than 32 bits tell.
            return (visits as u32, last as u32);
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
        (0, 0)
    }
}
