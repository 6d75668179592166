//! A shard of the table: values and visits of the (state, action) pairs of some states.
//!
//! Actions are numbered as they appear and fall into tiles of 11. A state owns one *home* block of cells for the first
//! tile, and one further block for each other tile that it uses, so that states with different actions do not make the
//! table explode. Blocks are only ever appended. What states are worth lies apart: it is read more than all else, and so
//! stays in the cache.

use crate::history::{History, Spot};
use crate::keys::{Dense, Index, Key};
use crate::prefetch::ask;
use crate::roomy;

/// Actions, and cells, per block.
pub(crate) const TILE: usize = 11;
/// Value of a pair that was never updated.
pub(crate) const NEVER: f64 = f64::NEG_INFINITY;
/// Home whose worth and values are the initial value; it belongs to no state.
pub(crate) const UNSEEN: u32 = 0;
/// Home whose worth and values are zero; it belongs to no state.
pub(crate) const TERMINAL: u32 = 1;
const RESERVED: u32 = 2;
const MAX_HOMES: usize = 1 << 28; // a home and its shard fit into 32 bits

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

/// A pair: its value; the number of its updates, and the number of the last of them, as [`History`] reads them.
#[derive(Clone, Copy)]
#[repr(align(16))] // so that it lies in one cache line
pub(crate) struct Cell {
    pub value: f64,
    pub visits: u32,
    pub last: u32,
}

/// What one update did to a cell.
pub(crate) struct Step {
    pub old: f64,
    pub new: f64,
    /// The pair was not known before.
    pub first: bool,
}

impl Cell {
    fn new(value: f64) -> Self {
        Self {
            value,
            visits: 0,
            last: 0,
        }
    }

    /// Move a value towards `reward + discount * next`, by the update of this number. The order of operations is that
    /// of every backend.
    #[inline(always)]
    pub fn step(&mut self, reward: f64, next: f64, rules: &Rules, number: u32) -> Step {
        let first = self.value == NEVER;
        let old = if first { rules.initial } else { self.value };
        let new = old + rules.learning_rate * (reward + rules.discount * next - old);
        self.value = new;
        self.visits += 1;
        self.last = number;
        Step { old, new, first }
    }
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
                best[i % 4] = larger(best[i % 4], cell.value);
            }
            self.best = larger(larger(best[0], best[1]), larger(best[2], best[3]));
            self.n += usize::from(self.best > NEVER);
            return;
        }
        for &Cell { value, .. } in cells {
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
pub(crate) fn worth_of_home(cells: &[Cell], home: usize, rules: &Rules) -> f64 {
    let mut tried = Tried::new();
    tried.take(&cells[home * TILE..][..TILE], rules);
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

/// The states of one shard with their values.
pub(crate) struct Shard {
    index: Index,
    /// `TILE` of each home.
    pub cells: Vec<Cell>,
    /// What each home is worth; NaN: to be computed anew.
    pub worths: Vec<f64>,
    lists: Vec<u32>, // of each home the position + 1 of the list of its further blocks
    more: Vec<Vec<(u32, u32)>>, // (tile, block in extra), by tile
    extra: Vec<Cell>, // `TILE` of each further block
    stamps: Vec<u64>,
    history: History,
    /// Number of pairs that were updated.
    pub known: usize,
    initial: f64,
}

impl Shard {
    /// `steps`: so many updates came before.
    pub fn new(initial: f64, steps: u64) -> Self {
        Self {
            index: Index::new(RESERVED),
            cells: [[Cell::new(initial); TILE], [Cell::new(0.0); TILE]].concat(),
            worths: vec![initial, 0.0],
            lists: vec![0; RESERVED as usize],
            more: Vec::new(),
            extra: Vec::new(),
            stamps: Vec::new(),
            history: History::new(steps),
            known: 0,
            initial,
        }
    }

    /// The home of a state that is no small integer (whose places the whole table knows), or [`UNSEEN`].
    #[inline]
    pub fn find(&self, state: Key<'_>) -> u32 {
        self.index.find(state)
    }

    /// Make the home of a state that has none; `stamp` says when it appeared among all states.
    #[cold]
    pub fn add(&mut self, state: Key<'_>, stamp: u64) -> u32 {
        assert!(
            self.worths.len() < MAX_HOMES,
            "a shard holds fewer than 2**28 states"
        );
        self.stamps.push(stamp);
        roomy::reserve(&mut self.cells, TILE);
        self.cells.extend([Cell::new(NEVER); TILE]);
        roomy::reserve(&mut self.worths, 1);
        self.worths.push(self.initial);
        self.lists.push(0);
        match state {
            Key::Int(number) if Dense::takes(number) => self.index.add_unfound(state),
            _ => self.index.add(state),
        }
    }

    fn further(&self, home: u32) -> &[(u32, u32)] {
        match self.lists[home as usize] {
            0 => &[],
            list => &self.more[list as usize - 1],
        }
    }

    /// Where the cell of an action in a state is.
    fn spot(&self, home: u32, column: usize) -> Option<Spot> {
        let tile = (column / TILE) as u32;
        let block = if tile == 0 {
            home
        } else {
            let further = self.further(home);
            let found = further.binary_search_by_key(&tile, |&(tile, _)| tile);
            further[found.ok()?].1
        };
        Some(Spot {
            is_extra: tile > 0,
            cell: block as usize * TILE + column % TILE,
        })
    }

    fn cell(&self, at: Spot) -> &Cell {
        let cells = if at.is_extra {
            &self.extra
        } else {
            &self.cells
        };
        &cells[at.cell]
    }

    /// The cell of an action in a state, made if need be.
    #[inline(always)]
    fn cell_mut(&mut self, home: u32, column: usize) -> &mut Cell {
        if column < TILE {
            return &mut self.cells[home as usize * TILE + column];
        }
        let block = self.further_block(home, (column / TILE) as u32);
        &mut self.extra[block as usize * TILE + column % TILE]
    }

    #[inline(never)]
    fn further_block(&mut self, home: u32, tile: u32) -> u32 {
        let list = &mut self.lists[home as usize];
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
                self.extra.extend([Cell::new(NEVER); TILE]);
                further.insert(place, (tile, block));
                block
            }
        }
    }

    /// The value of a pair; the initial value if it was never updated.
    #[inline]
    pub fn value(&self, home: u32, column: usize) -> f64 {
        let held = self
            .spot(home, column)
            .map_or(NEVER, |at| self.cell(at).value);
        if held == NEVER { self.initial } else { held }
    }

    /// The number of updates of a pair, and the number of its last one.
    pub fn visits(&self, home: u32, column: usize) -> (u64, u64) {
        self.spot(home, column)
            .map_or((0, 0), |at| self.history.of(self.cell(at), at))
    }

    /// Let updates of these numbers come: fewer than 2**32, and all later than any before.
    #[inline]
    pub fn make_room(&mut self, first: u64, last: u64) {
        self.history
            .make_room(first, last, &mut self.cells, &mut self.extra);
    }

    /// Let every state's worth be computed anew.
    pub fn doubt(&mut self) {
        self.worths[RESERVED as usize..].fill(f64::NAN);
    }

    /// What a state is worth to the one before.
    #[inline]
    pub fn worth(&mut self, home: u32, rules: &Rules) -> f64 {
        let worth = self.worths[home as usize];
        if worth.is_nan() {
            return self.collect(home, rules);
        }
        worth
    }

    #[cold]
    fn collect(&mut self, home: u32, rules: &Rules) -> f64 {
        let mut tried = Tried::new();
        tried.take(&self.cells[home as usize * TILE..][..TILE], rules);
        for &(_, block) in self.further(home) {
            tried.take(&self.extra[block as usize * TILE..][..TILE], rules);
        }
        let worth = tried.worth(rules);
        self.worths[home as usize] = worth;
        worth
    }

    /// Ask for what an update of a pair will touch, without waiting for it.
    #[inline]
    pub fn prefetch(&self, home: u32, column: usize) {
        ask(&self.worths, home as usize);
        ask(&self.cells, home as usize * TILE + column % TILE);
    }

    /// Learn from one transition, the update of this number, for which there is room.
    #[inline(always)]
    pub fn learn(
        &mut self,
        home: u32,
        column: usize,
        reward: f64,
        next: f64,
        rules: &Rules,
        number: u32,
    ) {
        let step = self
            .cell_mut(home, column)
            .step(reward, next, rules, number);
        let worth = &mut self.worths[home as usize];
        *worth = followed(*worth, &step, rules.on_policy);
        self.known += usize::from(step.first);
    }

    /// Homes with their stamps.
    pub fn homes(&self) -> impl Iterator<Item = (u64, u32)> {
        self.stamps.iter().copied().zip(RESERVED..)
    }

    /// The name of the state that has this home.
    pub fn name(&self, home: u32) -> &crate::keys::Name {
        self.index.name(home)
    }

    /// The known pairs of a state by column.
    pub fn entries(&self, home: u32) -> impl Iterator<Item = Entry> {
        let further = self.further(home).iter();
        let blocks = std::iter::once((0, home)).chain(further.copied());
        blocks.flat_map(move |(tile, block)| {
            let spots = (0..TILE).map(move |offset| Spot {
                is_extra: tile > 0,
                cell: block as usize * TILE + offset,
            });
            let cells = spots.map(|at| (at, self.cell(at)));
            let known = cells.filter(|(_, cell)| cell.value > NEVER);
            known.map(move |(at, cell)| {
                let (visits, last) = self.history.of(cell, at);
                Entry {
                    column: tile as usize * TILE + at.cell % TILE,
                    value: cell.value,
                    visits,
                    last,
                }
            })
        })
    }

    /// Enter a pair that is not known yet.
    pub fn enter(&mut self, home: u32, entry: Entry) {
        let column = entry.column;
        self.cell_mut(home, column);
        let at = self.spot(home, column).expect("it was just made");
        let cells = if at.is_extra {
            &mut self.extra
        } else {
            &mut self.cells
        };
        let cell = &mut cells[at.cell];
        cell.value = entry.value;
        self.history.enter(cell, at, entry.visits, entry.last);
        self.worths[home as usize] = f64::NAN;
        self.known += 1;
    }
}
