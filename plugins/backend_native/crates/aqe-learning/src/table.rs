//! A shard of the table: the states of some names, where their values are, and what came of their updates.
//!
//! A state owns a [home](crate::homes), and one further block of cells for each tile of actions beyond the first that it
//! uses, so that states with different actions do not make the table explode. Blocks are only ever appended.

use crate::history::{History, Spot};
use crate::homes::{CHUNK, Cell, Homes, NEVER, Step, TILE, UNSEEN};
use crate::keys::{Dense, Index, Key};

/// What an update follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Share of the error that is learned.
    pub learning_rate: f64,
    /// Weight of what follows.
    pub discount: f64,
    /// Share of random choices.
    pub epsilon: f64,
    /// Value of a pair never tried.
    pub initial: f64,
    /// A state is worth the expectation under the epsilon-greedy policy, not its best action.
    pub on_policy: bool,
    /// Number of declared actions; 0 where the set is open.
    pub declared: usize,
}

/// What a state is worth after an update of one of its values; NaN: to be computed anew.
///
/// A state without any value has the initial value as its worth, which also is the old value of its first update.
#[inline(always)]
pub(crate) fn followed(best: f64, step: &Step, on_policy: bool) -> f64 {
    let fallen = if step.old == best { f64::NAN } else { best };
    let worth = if step.new >= best { step.new } else { fallen };
    if on_policy { f64::NAN } else { worth }
}

/// The sum, number and largest of the values of pairs that were updated, taken up in the order of the actions.
struct Tried {
    best: f64,
    sum: f64,
    n: usize,
}

impl Tried {
    fn new() -> Self {
        Self {
            best: NEVER,
            sum: 0.0,
            n: 0,
        }
    }

    #[inline]
    fn take(&mut self, cells: &[Cell], rules: &Rules) {
        if rules.declared == 0 && !rules.on_policy {
            // The best alone counts: no sum and no branch, and four at a time, so that none waits for the one before.
            let larger = |one: f64, other: f64| if other > one { other } else { one };
            let mut best = [self.best; 4];
            for (i, cell) in cells.iter().enumerate() {
                best[i % 4] = larger(best[i % 4], cell.value.get());
            }
            self.best = larger(larger(best[0], best[1]), larger(best[2], best[3]));
            self.n += usize::from(self.best > NEVER);
            return;
        }
        for cell in cells {
            let value = cell.value.get();
            if value > NEVER {
                self.n += 1;
                self.sum += value;
                self.best = if value > self.best { value } else { self.best };
            }
        }
    }

    #[inline]
    fn worth(&self, rules: &Rules) -> f64 {
        let untried = rules.declared.saturating_sub(self.n);
        if self.n + untried == 0 {
            return rules.initial;
        }
        let best = if untried > 0 && rules.initial > self.best {
            rules.initial
        } else {
            self.best
        };
        if !rules.on_policy {
            return best;
        }
        let mean = (self.sum + untried as f64 * rules.initial) / (self.n + untried) as f64;
        (1.0 - rules.epsilon) * best + rules.epsilon * mean
    }
}

/// What a state whose actions all lie in its home is worth.
#[cold]
pub(crate) fn worth_of_block(cells: &[Cell], rules: &Rules) -> f64 {
    let mut tried = Tried::new();
    tried.take(cells, rules);
    tried.worth(rules)
}

/// A known pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Position of the action.
    pub column: usize,
    /// Its value.
    pub value: f64,
    /// Number of updates.
    pub visits: u64,
    /// Number of the last of them among all updates, from 1 on; 0: none, or unknown.
    pub last: u64,
}

/// The states of one shard, by rows in order of appearance.
pub(crate) struct Shard {
    number: usize,
    index: Index,               // numbers rows from 1 on
    chunks: Vec<u32>,           // the first home of every `CHUNK` rows
    lists: Vec<u32>,            // of each row the position + 1 of the list of its further blocks
    more: Vec<Vec<(u32, u32)>>, // (tile, block in extra), by tile
    extra: Vec<Cell>,           // `TILE` of each further block
    stamps: Vec<u64>,
    history: History,
}

impl Shard {
    /// `steps`: so many updates came before.
    pub fn new(number: usize, steps: u64) -> Self {
        Self {
            number,
            index: Index::new(1),
            chunks: Vec::new(),
            lists: Vec::new(),
            more: Vec::new(),
            extra: Vec::new(),
            stamps: Vec::new(),
            history: History::new(steps),
        }
    }

    fn home(&self, row: usize) -> u32 {
        self.chunks[row / CHUNK] + (row % CHUNK) as u32
    }

    /// The home of a state that is no small integer (whose homes the whole table knows), or [`UNSEEN`].
    #[inline]
    pub fn find(&self, state: Key<'_>) -> u32 {
        match self.index.find(state) {
            0 => UNSEEN,
            number => self.home(number as usize - 1),
        }
    }

    /// Make the home of a state that has none; `stamp` says when it appeared among all states.
    #[cold]
    pub fn add(&mut self, homes: &mut Homes, state: Key<'_>, stamp: u64) -> u32 {
        let row = self.stamps.len();
        if row.is_multiple_of(CHUNK) {
            self.chunks.push(homes.add_chunk(self.number, row));
        }
        self.stamps.push(stamp);
        self.lists.push(0);
        let home = self.home(row);
        homes.worths[home as usize].set(homes.initial); // its chunk may be older than a doubt
        match state {
            Key::Int(small) if Dense::takes(small) => {
                self.index.add_unfound(state);
                homes.ints.set(small, home);
            }
            _ => {
                self.index.add(state);
            }
        }
        home
    }

    fn further(&self, row: usize) -> &[(u32, u32)] {
        match self.lists[row] {
            0 => &[],
            list => &self.more[list as usize - 1],
        }
    }

    /// Where the cell of an action in a state is.
    fn spot(&self, row: usize, column: usize) -> Option<Spot> {
        let tile = (column / TILE) as u32;
        let block = if tile == 0 {
            row
        } else {
            let further = self.further(row);
            let found = further.binary_search_by_key(&tile, |&(tile, _)| tile);
            further[found.ok()?].1 as usize
        };
        Some(Spot {
            is_extra: tile > 0,
            cell: block * TILE + column % TILE,
        })
    }

    fn cell<'a>(&'a self, homes: &'a Homes, at: Spot) -> &'a Cell {
        if at.is_extra {
            return &self.extra[at.cell];
        }
        &homes.block(self.home(at.cell / TILE))[at.cell % TILE]
    }

    /// The cell of an action in a state, made if need be.
    #[inline(always)]
    fn cell_or_add<'a>(&'a mut self, homes: &'a Homes, home: u32, column: usize) -> &'a Cell {
        if column < TILE {
            return &homes.cells[home as usize * TILE + column];
        }
        let (_, row) = homes.owner(home);
        let block = self.further_block(row, (column / TILE) as u32);
        &self.extra[block as usize * TILE + column % TILE]
    }

    #[inline(never)]
    fn further_block(&mut self, row: usize, tile: u32) -> u32 {
        let list = &mut self.lists[row];
        if *list == 0 {
            self.more.push(Vec::new());
            *list = u32::try_from(self.more.len()).expect("no more lists than homes");
        }
        let further = &mut self.more[*list as usize - 1];
        match further.binary_search_by_key(&tile, |&(tile, _)| tile) {
            Ok(found) => further[found].1,
            Err(place) => {
                let blocks = self.extra.len() / TILE;
                let block = u32::try_from(blocks).expect("fewer than 2**32 blocks");
                self.extra.extend((0..TILE).map(|_| Cell::new(NEVER)));
                further.insert(place, (tile, block));
                block
            }
        }
    }

    /// The value of a pair; the initial value if it was never updated.
    #[inline]
    pub fn value(&self, homes: &Homes, home: u32, column: usize, rules: &Rules) -> f64 {
        let held = if column < TILE {
            homes.block(home)[column].value.get()
        } else {
            let (_, row) = homes.owner(home);
            self.spot(row, column)
                .map_or(NEVER, |at| self.cell(homes, at).value.get())
        };
        if held == NEVER { rules.initial } else { held }
    }

    /// The number of updates of a pair, and the number of its last one.
    pub fn visits(&self, homes: &Homes, home: u32, column: usize) -> (u64, u64) {
        let (_, row) = homes.owner(home);
        self.spot(row, column)
            .map_or((0, 0), |at| self.history.of(self.cell(homes, at), at))
    }

    /// Let updates of these numbers come: fewer than 2**32, and all later than any before.
    #[inline]
    pub fn make_room(&mut self, homes: &Homes, first: u64, last: u64) {
        if !self.history.has_room(last) {
            let rows = self
                .chunks
                .iter()
                .flat_map(|&home| home..home + CHUNK as u32);
            let cells = rows
                .take(self.stamps.len())
                .flat_map(|home| homes.block(home));
            self.history.move_border(first - 1, cells, &self.extra);
        }
    }

    /// What a state is worth, computed anew.
    #[cold]
    pub fn collect(&self, homes: &Homes, home: u32, rules: &Rules) -> f64 {
        let mut tried = Tried::new();
        tried.take(homes.block(home), rules);
        let (_, row) = homes.owner(home);
        for &(_, block) in self.further(row) {
            tried.take(&self.extra[block as usize * TILE..][..TILE], rules);
        }
        let worth = tried.worth(rules);
        homes.worths[home as usize].set(worth);
        worth
    }

    /// Learn from one transition, the update of this number, for which there is room; say whether its pair is new.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // a transition has them
    pub fn learn(
        &mut self,
        homes: &Homes,
        home: u32,
        column: usize,
        reward: f64,
        next: f64,
        rules: &Rules,
        number: u32,
    ) -> bool {
        let cell = self.cell_or_add(homes, home, column);
        let step = cell.step(reward, next, rules, number);
        let worth = &homes.worths[home as usize];
        worth.set(followed(worth.get(), &step, rules.on_policy));
        step.first
    }

    /// Rows with their stamps.
    pub fn rows(&self) -> impl Iterator<Item = (u64, usize)> {
        self.stamps.iter().copied().zip(0..)
    }

    /// The name of the state of a row.
    pub fn name(&self, row: usize) -> &crate::keys::Name {
        &self.index.names()[row]
    }

    /// The known pairs of a state by column.
    pub fn entries<'a>(&'a self, homes: &'a Homes, row: usize) -> impl Iterator<Item = Entry> {
        let further = self.further(row).iter();
        let own = (0, row as u32);
        let blocks = std::iter::once(own).chain(further.copied());
        blocks.flat_map(move |(tile, block)| {
            let spots = (0..TILE).map(move |offset| Spot {
                is_extra: tile > 0,
                cell: block as usize * TILE + offset,
            });
            let cells = spots.map(|at| (at, self.cell(homes, at)));
            let known = cells.filter(|(_, cell)| cell.value.get() > NEVER);
            known.map(move |(at, cell)| {
                let (visits, last) = self.history.of(cell, at);
                Entry {
                    column: tile as usize * TILE + at.cell % TILE,
                    value: cell.value.get(),
                    visits,
                    last,
                }
            })
        })
    }

    /// Enter a pair that is not known yet.
    pub fn enter(&mut self, homes: &Homes, home: u32, entry: Entry) {
        let cell = self.cell_or_add(homes, home, entry.column);
        cell.value.set(entry.value);
        let (_, row) = homes.owner(home);
        let at = self.spot(row, entry.column).expect("it was just made");
        let counts = self.history.enter(at, entry.visits, entry.last);
        self.cell(homes, at).set_counts(counts.0, counts.1);
        homes.worths[home as usize].set(f64::NAN);
    }
}
