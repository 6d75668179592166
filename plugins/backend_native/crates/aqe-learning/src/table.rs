//! A shard of the table: values and visits of the (state, action) pairs of some states.
//!
//! Actions are numbered as they appear and fall into tiles of 11. A state owns one *home* block of three cache lines
//! for the first tile, and one further block for each other tile that it uses, so that states with different actions
//! do not make the table explode. Blocks are only ever appended.

use crate::history::{History, Spot};
use crate::keys::{Index, Key};
use crate::prefetch::prefetch;

/// Actions per block.
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
pub(crate) struct Cell {
    pub value: f64,
    pub visits: u32,
    pub last: u32,
}

/// Three cache lines: what a state is worth, and up to 11 of its pairs. An update touches one or two of them.
#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct Block {
    /// Of the whole state, in its home; NaN: to be computed anew.
    pub worth: f64,
    /// Position + 1 of the list of the state's further blocks, in its home.
    more: u64,
    pub cells: [Cell; TILE],
}

/// What one update did to a block.
pub(crate) struct Step {
    pub old: f64,
    pub new: f64,
    /// The pair was not known before.
    pub first: bool,
}

impl Block {
    fn new(worth: f64, value: f64) -> Self {
        Self {
            worth,
            more: 0,
            cells: [Cell {
                value,
                visits: 0,
                last: 0,
            }; TILE],
        }
    }

    /// Move a value towards `reward + discount * next`, by the update of this number. The order of operations is that
    /// of every backend.
    #[inline(always)]
    pub fn step(
        &mut self,
        offset: usize,
        reward: f64,
        next: f64,
        rules: &Rules,
        number: u32,
    ) -> Step {
        let cell = &mut self.cells[offset];
        let first = cell.value == NEVER;
        let old = if first { rules.initial } else { cell.value };
        let new = old + rules.learning_rate * (reward + rules.discount * next - old);
        cell.value = new;
        cell.visits += 1;
        cell.last = number;
        Step { old, new, first }
    }

    /// Ask for the worth of a state, and what an update of a pair touches, without waiting for it.
    #[inline(always)]
    pub fn prefetch(block: *const Self, offset: Option<usize>) {
        prefetch(block);
        if let Some(offset) = offset {
            prefetch(
                block.wrapping_byte_add(
                    std::mem::offset_of!(Self, cells) + offset * size_of::<Cell>(),
                ),
            );
        }
    }

    /// Keep the worth of a state after an update of one of its values.
    ///
    /// A state without any value has the initial value as its worth, which also is the old value of its first update.
    #[inline(always)]
    pub fn follow(&mut self, step: &Step, on_policy: bool) {
        let best = self.worth;
        let fallen = if step.old == best { f64::NAN } else { best };
        let worth = if step.new >= best { step.new } else { fallen };
        self.worth = if on_policy { f64::NAN } else { worth };
    }
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
    fn take(&mut self, block: &Block) {
        for &Cell { value, .. } in &block.cells {
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

/// What a state whose actions all lie in its home is worth, computed if need be.
#[inline(always)]
pub(crate) fn worth_of_home(block: &mut Block, rules: &Rules) -> f64 {
    if block.worth.is_nan() {
        let mut tried = Tried::new();
        tried.take(block);
        block.worth = tried.worth(rules);
    }
    block.worth
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
    pub blocks: Vec<Block>,
    extra: Vec<Block>,
    more: Vec<Vec<(u32, u32)>>, // (tile, position in extra), by tile
    stamps: Vec<u64>,
    history: History,
    /// Number of pairs that were updated.
    pub known: usize,
    initial: f64,
}

impl Shard {
    /// `shift`: integer keys of the shard share that many lower bits. `steps`: so many updates came before.
    pub fn new(initial: f64, shift: u32, steps: u64) -> Self {
        Self {
            index: Index::new(RESERVED, shift),
            blocks: vec![Block::new(initial, initial), Block::new(0.0, 0.0)],
            extra: Vec::new(),
            more: Vec::new(),
            stamps: Vec::new(),
            history: History::new(steps),
            known: 0,
            initial,
        }
    }

    /// Homes of the states with small numbers, as [`Index::dense`] has them.
    pub fn dense(&self) -> &[u32] {
        self.index.dense()
    }

    /// The home of a state, or [`UNSEEN`].
    #[inline]
    pub fn find(&self, state: Key<'_>) -> u32 {
        self.index.find(state)
    }

    /// The home of a state, made if need be; `stamp` says when it appeared among all states.
    #[inline]
    pub fn find_or_add(&mut self, state: Key<'_>, stamp: impl FnOnce() -> u64) -> u32 {
        match self.index.find(state) {
            UNSEEN => self.add(state, stamp()),
            home => home,
        }
    }

    #[cold]
    fn add(&mut self, state: Key<'_>, stamp: u64) -> u32 {
        assert!(
            self.blocks.len() < MAX_HOMES,
            "a shard holds fewer than 2**28 states"
        );
        self.stamps.push(stamp);
        self.blocks.push(Block::new(self.initial, NEVER));
        self.index.add(state)
    }

    fn further(&self, home: u32) -> &[(u32, u32)] {
        match self.blocks[home as usize].more {
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
            block: block as usize,
            offset: column % TILE,
        })
    }

    fn cell(&self, at: Spot) -> &Cell {
        let blocks = if at.is_extra {
            &self.extra
        } else {
            &self.blocks
        };
        &blocks[at.block].cells[at.offset]
    }

    /// The block of an action in a state, made if need be.
    #[inline]
    fn block_mut(&mut self, home: u32, column: usize) -> &mut Block {
        if column < TILE {
            return &mut self.blocks[home as usize];
        }
        self.further_mut(home, (column / TILE) as u32)
    }

    fn further_mut(&mut self, home: u32, tile: u32) -> &mut Block {
        let block = &mut self.blocks[home as usize];
        if block.more == 0 {
            self.more.push(Vec::new());
            block.more = self.more.len() as u64;
        }
        let further = &mut self.more[block.more as usize - 1];
        let position = match further.binary_search_by_key(&tile, |&(tile, _)| tile) {
            Ok(found) => further[found].1,
            Err(place) => {
                let position = u32::try_from(self.extra.len()).expect("fewer than 2**32 blocks");
                self.extra.push(Block::new(f64::NAN, NEVER));
                further.insert(place, (tile, position));
                position
            }
        };
        &mut self.extra[position as usize]
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
            .make_room(first, last, &mut self.blocks, &mut self.extra);
    }

    /// Let every state's worth be computed anew.
    pub fn doubt(&mut self) {
        for block in &mut self.blocks[RESERVED as usize..] {
            block.worth = f64::NAN;
        }
    }

    /// What a state is worth to the one before.
    #[inline]
    pub fn worth(&mut self, home: u32, rules: &Rules) -> f64 {
        let block = &mut self.blocks[home as usize];
        if block.more == 0 {
            return worth_of_home(block, rules);
        }
        let worth = block.worth;
        if worth.is_nan() {
            return self.collect(home, rules);
        }
        worth
    }

    #[cold]
    fn collect(&mut self, home: u32, rules: &Rules) -> f64 {
        let mut tried = Tried::new();
        tried.take(&self.blocks[home as usize]);
        for &(_, position) in self.further(home) {
            tried.take(&self.extra[position as usize]);
        }
        let worth = tried.worth(rules);
        self.blocks[home as usize].worth = worth;
        worth
    }

    /// Ask for what an update of a pair will touch, without waiting for it.
    #[inline]
    pub fn prefetch(&self, home: u32, column: usize) {
        Block::prefetch(&self.blocks[home as usize], Some(column % TILE));
    }

    /// Learn from one transition, the update of this number, for which there is room.
    #[inline]
    pub fn learn(
        &mut self,
        home: u32,
        column: usize,
        reward: f64,
        next: f64,
        rules: &Rules,
        number: u32,
    ) {
        let offset = column % TILE;
        let step = self
            .block_mut(home, column)
            .step(offset, reward, next, rules, number);
        self.blocks[home as usize].follow(&step, rules.on_policy);
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
                block: block as usize,
                offset,
            });
            let cells = spots.map(|at| (at, self.cell(at)));
            let known = cells.filter(|(_, cell)| cell.value > NEVER);
            known.map(move |(at, cell)| {
                let (visits, last) = self.history.of(cell, at);
                Entry {
                    column: tile as usize * TILE + at.offset,
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
        self.block_mut(home, column);
        let at = self.spot(home, column).expect("it was just made");
        let blocks = if at.is_extra {
            &mut self.extra
        } else {
            &mut self.blocks
        };
        let cell = &mut blocks[at.block].cells[at.offset];
        cell.value = entry.value;
        self.history.enter(cell, at, entry.visits, entry.last);
        self.blocks[home as usize].worth = f64::NAN;
        self.known += 1;
    }
}
