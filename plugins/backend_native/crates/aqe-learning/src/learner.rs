//! Tabular temporal-difference learning: Q-learning, SARSA and expected SARSA.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};

use atomic_refcell::{AtomicRefCell, AtomicRefMut};

use crate::batch;
use crate::homes::{Homes, TERMINAL, UNSEEN};
use crate::keys::{AsKey, Dense, Index, Key, Name};
use crate::table::{Entry, Rules, Shard};
use crate::twister::Twister;

/// Binary logarithm of the number of shards.
pub(crate) const SHARD_BITS: u32 = 4;
/// Number of shards.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// The shard of a state: an integer's remainder by [`SHARDS`], or some number that a text keeps while the process
/// lives.
#[inline]
pub fn shard_of(state: Key<'_>) -> usize {
    match state {
        Key::Int(number) => number as usize % SHARDS,
        Key::Text(_, hash) => (hash >> (u64::BITS - SHARD_BITS)) as usize,
    }
}

/// An action outside the declared set; its position in the batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Undeclared(pub usize);

/// Numbers of actions: from 1 on, in order of appearance.
pub(crate) struct Actions {
    index: Index,
    declared: bool,
}

impl Actions {
    /// The declared actions, each once; none where the set is open.
    pub fn new(declared: &[Name]) -> Self {
        let mut index = Index::new(1);
        for action in declared {
            index.add(action.key());
        }
        Self {
            index,
            declared: !declared.is_empty(),
        }
    }

    /// Their names, in the order of their numbers.
    pub fn names(&self) -> &[Name] {
        self.index.names()
    }

    /// Number an action that was not declared, whatever is declared: one that a state holds.
    pub fn add(&mut self, action: Key<'_>) {
        self.index.add(action);
    }

    /// Number of actions known.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The column of an action, if it has one.
    #[inline]
    pub fn find(&self, action: Key<'_>) -> Option<usize> {
        (self.index.find(action) as usize).checked_sub(1)
    }

    /// The column of an action, given if need be and allowed.
    #[inline]
    pub fn find_or_add(&mut self, action: Key<'_>) -> Result<usize, Undeclared> {
        match self.index.find(action) {
            0 if self.declared => Err(Undeclared(0)),
            0 => Ok(self.index.add(action) as usize - 1),
            number => Ok(number as usize - 1),
        }
    }

    /// Numbers (columns + 1) of the small integers.
    pub fn dense(&self) -> &Dense {
        self.index.dense()
    }

    /// Refuse a column that has an action outside the declared set. O(column), O(1) where the set is open.
    pub fn check_all(&self, column: Column<'_>) -> Result<(), Undeclared> {
        if !self.declared {
            return Ok(());
        }
        let position = match column {
            Column::Ints(keys) => keys
                .iter()
                .position(|&key| self.check(Key::Int(key)).is_err()),
            Column::Keys(keys) => keys.iter().position(|&key| self.check(key).is_err()),
        };
        position.map_or(Ok(()), |position| Err(Undeclared(position)))
    }

    /// Refuse an action outside the declared set.
    #[inline]
    pub fn check(&self, action: Key<'_>) -> Result<(), Undeclared> {
        if self.declared && self.index.find(action) == 0 {
            return Err(Undeclared(0));
        }
        Ok(())
    }
}

/// All that a learner knows. Reached through [`Learner`].
pub struct Table {
    pub(crate) rules: Rules,
    pub(crate) actions: RwLock<Actions>,
    pub(crate) shards: Box<[Mutex<Shard>; SHARDS]>,
    pub(crate) homes: RwLock<Homes>,
    /// Number of pairs that were updated.
    pub(crate) known: AtomicUsize,
    pub(crate) stamp: AtomicU64,
    /// Number of updates learned.
    steps: AtomicU64,
    generator: Twister,
    seed: u64,
}

/// Everything learned, in an order that depends only on what was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// States in order of their first update.
    pub states: Vec<Name>,
    /// Actions, the declared ones first, then in order of their first update.
    pub actions: Vec<Name>,
    /// Known pairs as (position of the state, rest), by state, then action.
    pub pairs: Vec<(usize, Entry)>,
    /// [`Twister::state`].
    pub generator: Vec<u32>,
}

const POISONED: &str = "no thread panicked while it held the table";

#[inline(always)]
fn own<T>(lock: &mut Mutex<T>) -> &mut T {
    lock.get_mut().expect(POISONED)
}

impl Table {
    /// An empty table. `declared`: the whole set of actions, each once; empty where the set is open.
    pub fn new(rules: Rules, declared: &[Name], seed: u64) -> Self {
        Self::after(0, rules, declared, seed)
    }

    /// An empty table that counts updates from this number on.
    fn after(steps: u64, mut rules: Rules, declared: &[Name], seed: u64) -> Self {
        rules.declared = declared.len();
        Self {
            rules,
            actions: RwLock::new(Actions::new(declared)),
            shards: Box::new(std::array::from_fn(|number| {
                Mutex::new(Shard::new(number, steps))
            })),
            homes: RwLock::new(Homes::new(rules.initial)),
            known: AtomicUsize::new(0),
            stamp: AtomicU64::new(0),
            steps: AtomicU64::new(steps),
            generator: Twister::new(seed),
            seed,
        }
    }

    /// The place of a new state among all states.
    pub(crate) fn next_stamp(&self) -> u64 {
        self.stamp.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the updates follow.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The declared actions.
    pub fn declared(&mut self) -> Vec<Name> {
        self.actions.get_mut().expect(POISONED).names()[..self.rules.declared].to_vec()
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of updates learned.
    pub fn steps(&mut self) -> u64 {
        *self.steps.get_mut()
    }

    /// The numbers of so many updates that come now.
    pub(crate) fn next_steps(&self, n: usize) -> std::ops::Range<u64> {
        let start = self.steps.fetch_add(n as u64, Ordering::Relaxed) + 1;
        start..start + n as u64
    }

    /// Number of (state, action) pairs with a value.
    pub fn known(&mut self) -> usize {
        *self.known.get_mut()
    }

    /// Learn from one transition. O(1), or O(actions of the next state) where its worth must be computed anew.
    #[inline]
    pub fn update<K: AsKey>(
        &mut self,
        state: K,
        action: K,
        reward: f64,
        next_state: K,
        done: bool,
        next_action: Option<Key<'_>>,
    ) -> Result<(), Undeclared> {
        let (state, action, next_state) = (state.key(), action.key(), next_state.key());
        let next_action = next_action.filter(|_| self.rules.on_policy);
        let actions = self.actions.get_mut().expect(POISONED);
        if let Some(next_action) = next_action {
            actions.check(next_action)?;
        }
        let column = actions.find_or_add(action)?;
        let next_column = next_action.map(|next_action| actions.find(next_action));
        let home = self.home_or_add(state);
        self.homes.get_mut().expect(POISONED).prefetch(home, column);
        let source = if done {
            TERMINAL
        } else {
            self.home_of(next_state)
        };
        let (rules, homes) = (&self.rules, self.homes.get_mut().expect(POISONED));
        let next = match next_column {
            Some(_) if source == TERMINAL => 0.0,
            Some(Some(column)) if source != UNSEEN => {
                let shard = own(&mut self.shards[shard_of(next_state)]);
                shard.value(homes, source, column, rules)
            }
            Some(_) => rules.initial,
            None => {
                let worth = homes.worths[source as usize].get();
                if worth.is_nan() {
                    own(&mut self.shards[shard_of(next_state)]).collect(homes, source, rules)
                } else {
                    worth
                }
            }
        };
        let number = self.steps.get_mut();
        *number += 1;
        let own = own(&mut self.shards[shard_of(state)]);
        own.make_room(homes, *number, *number);
        let first = own.learn(homes, home, column, reward, next, rules, *number as u32);
        *self.known.get_mut() += usize::from(first);
        Ok(())
    }

    /// The home of a state, or one that stands for it.
    #[inline(always)]
    fn home_of(&mut self, state: Key<'_>) -> u32 {
        match state {
            Key::Int(small) if Dense::takes(small) => {
                self.homes.get_mut().expect(POISONED).ints.get(small)
            }
            _ => own(&mut self.shards[shard_of(state)]).find(state),
        }
    }

    /// The home of a state, made if need be.
    #[inline(always)]
    fn home_or_add(&mut self, state: Key<'_>) -> u32 {
        match self.home_of(state) {
            UNSEEN => self.add_state(state),
            home => home,
        }
    }

    #[cold]
    fn add_state(&mut self, state: Key<'_>) -> u32 {
        let stamp = self.next_stamp();
        let homes = self.homes.get_mut().expect(POISONED);
        own(&mut self.shards[shard_of(state)]).add(homes, state, stamp)
    }

    /// The value of a pair; the initial value if it was never updated. O(1).
    pub fn value(&mut self, state: Key<'_>, action: Key<'_>) -> Result<f64, Undeclared> {
        let found = self.pair_of(state, action)?;
        let homes = self.homes.get_mut().expect(POISONED);
        Ok(found.map_or(self.rules.initial, |(home, column)| {
            own(&mut self.shards[shard_of(state)]).value(homes, home, column, &self.rules)
        }))
    }

    /// Home and column of a pair whose state and action are known.
    fn pair_of(
        &mut self,
        state: Key<'_>,
        action: Key<'_>,
    ) -> Result<Option<(u32, usize)>, Undeclared> {
        let actions = self.actions.get_mut().expect(POISONED);
        actions.check(action)?;
        let column = actions.find(action);
        let home = self.home_of(state);
        let known = column.filter(|_| home != UNSEEN);
        Ok(known.map(|column| (home, column)))
    }

    /// The number of updates of a pair, and the number of the last of them among all; zero if there is none. O(1).
    pub fn visits(&mut self, state: Key<'_>, action: Key<'_>) -> Result<(u64, u64), Undeclared> {
        let found = self.pair_of(state, action)?;
        let homes = self.homes.get_mut().expect(POISONED);
        Ok(found.map_or((0, 0), |(home, column)| {
            own(&mut self.shards[shard_of(state)]).visits(homes, home, column)
        }))
    }

    /// Change the rates from here on. O(states) where a state is worth what the own policy expects.
    pub fn set_rates(&mut self, learning_rate: f64, discount: f64, epsilon: f64) {
        self.rules = Rules {
            learning_rate,
            discount,
            epsilon,
            ..self.rules
        };
        if self.rules.on_policy {
            self.homes.get_mut().expect(POISONED).doubt();
        }
    }

    /// The position of the chosen one of the offered actions, which must not be empty. O(offered).
    ///
    /// The first of the best, or with probability epsilon any. Draws what `aqe_backend_numpy` draws.
    pub fn choose(
        &mut self,
        state: Key<'_>,
        offered: &[Key<'_>],
        explore: bool,
    ) -> Result<usize, Undeclared> {
        let actions = self.actions.get_mut().expect(POISONED);
        for &action in offered {
            actions.check(action)?;
        }
        if explore && self.generator.random() < self.rules.epsilon {
            return Ok((self.generator.random() * offered.len() as f64) as usize);
        }
        let home = self.home_of(state);
        let homes = self.homes.get_mut().expect(POISONED);
        let shard = own(&mut self.shards[shard_of(state)]);
        let actions = self.actions.get_mut().expect(POISONED);
        let (mut best, mut chosen) = (f64::NEG_INFINITY, 0);
        for (position, &action) in offered.iter().enumerate() {
            let value = match actions.find(action) {
                Some(column) if home != UNSEEN => shard.value(homes, home, column, &self.rules),
                _ => self.rules.initial,
            };
            if value > best {
                (best, chosen) = (value, position);
            }
        }
        Ok(chosen)
    }

    /// Everything learned. O(states log states + pairs).
    pub fn learned(&mut self) -> Learned {
        let mut rows = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            rows.extend(own(shard).rows().map(|(stamp, row)| (stamp, number, row)));
        }
        rows.sort_unstable();
        let mut learned = Learned {
            states: Vec::with_capacity(rows.len()),
            actions: self.actions.get_mut().expect(POISONED).names().to_vec(),
            pairs: Vec::new(),
            generator: self.generator.state(),
        };
        let homes = self.homes.get_mut().expect(POISONED);
        for (position, (_, number, row)) in rows.into_iter().enumerate() {
            let shard = own(&mut self.shards[number]);
            learned.states.push(shard.name(row).clone());
            let entries = shard.entries(homes, row);
            learned.pairs.extend(entries.map(|entry| (position, entry)));
        }
        learned
    }

    /// A table that has learned this: names and pairs at most once, positions within the names, visits above 0.
    /// `None` if the generator's state is none.
    pub fn from_learned(
        rules: Rules,
        declared: usize,
        seed: u64,
        learned: &Learned,
    ) -> Option<Self> {
        let visits = learned.pairs.iter().map(|(_, entry)| entry.visits);
        let steps = visits.fold(0, u64::wrapping_add);
        let mut table = Self::after(steps, rules, &learned.actions[..declared], seed);
        table.generator = Twister::from_state(&learned.generator)?;
        let actions = table.actions.get_mut().expect(POISONED);
        for action in &learned.actions[declared..] {
            actions.add(action.key());
        }
        let states = learned.states.iter();
        let places: Vec<_> = states
            .map(|state| (shard_of(state.key()), table.home_or_add(state.key())))
            .collect();
        let homes = table.homes.get_mut().expect(POISONED);
        for &(row, entry) in &learned.pairs {
            let (number, home) = places[row];
            own(&mut table.shards[number]).enter(homes, home, entry);
        }
        *table.known.get_mut() = learned.pairs.len();
        Some(table)
    }
}

/// A column of keys.
#[derive(Clone, Copy)]
pub enum Column<'a> {
    /// Integers only.
    Ints(&'a [i64]),
    /// Anything.
    Keys(&'a [Key<'a>]),
}

impl Column<'_> {
    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            Column::Ints(keys) => keys.len(),
            Column::Keys(keys) => keys.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Transitions, one column each; all of the same length.
pub struct Transitions<'a> {
    /// Where something was done.
    pub states: Column<'a>,
    /// What was done.
    pub actions: Column<'a>,
    /// What it brought.
    pub rewards: &'a [f64],
    /// Where it led.
    pub next_states: Column<'a>,
    /// Whether the episode ended; all false when absent.
    pub dones: Option<&'a [bool]>,
    /// What is done there.
    pub next_actions: Option<Column<'a>>,
}

/// A table that several threads share.
///
/// Batches take the shards of their states and next states, so those in different shards run at the same time; each
/// is learned whole before another that shares a shard begins. Everything else takes the whole table.
///
/// What takes the table for more than an instant waits for its turn; what takes it for an instant does not, so that
/// a single call costs one atomic exchange, and the others look again where they meet one.
pub struct Learner {
    table: AtomicRefCell<Table>,
    turns: RwLock<()>,
}

impl Learner {
    /// A learner with this table.
    pub fn new(table: Table) -> Self {
        Self {
            table: AtomicRefCell::new(table),
            turns: RwLock::new(()),
        }
    }

    /// The whole table, once no other thread uses it.
    pub fn exclusive(&self) -> Exclusive<'_> {
        let turn = self.turns.write().expect(POISONED);
        let table = once_free(|| self.table.try_borrow_mut().ok());
        Exclusive { table, _turn: turn }
    }

    /// The whole table, for an instant, if no other thread uses it now.
    #[inline]
    pub fn try_exclusive(&self) -> Option<AtomicRefMut<'_, Table>> {
        self.table.try_borrow_mut().ok()
    }

    /// Learn from transitions in order, as [`Table::update`] does one by one, bit for bit. O(transitions).
    ///
    /// An undeclared action is refused before anything is learned.
    pub fn update_batch(&self, transitions: &Transitions<'_>) -> Result<(), Undeclared> {
        let _turn = self.turns.read().expect(POISONED);
        let table = once_free(|| self.table.try_borrow().ok());
        let on_policy = table.rules.on_policy;
        {
            let actions = table.actions.read().expect(POISONED);
            actions.check_all(transitions.actions)?;
            if let Some(column) = transitions.next_actions.filter(|_| on_policy) {
                actions.check_all(column)?;
            }
        }
        let wanted = shards_of(transitions.states) | shards_of(transitions.next_states);
        // In ascending order, so that no two threads wait for each other.
        let mut guards: [Option<MutexGuard<'_, Shard>>; SHARDS] = Default::default();
        for (number, guard) in guards
            .iter_mut()
            .enumerate()
            .filter(|(number, _)| wanted >> number & 1 == 1)
        {
            *guard = Some(table.shards[number].lock().expect(POISONED));
        }
        batch::learn(&table, &mut guards, transitions);
        Ok(())
    }
}

/// What may be had in an instant.
fn once_free<T>(mut try_take: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(taken) = try_take() {
            return taken;
        }
        std::thread::yield_now();
    }
}

/// The whole table, and the turn that keeps others waiting.
pub struct Exclusive<'a> {
    table: AtomicRefMut<'a, Table>, // let go before the turn
    _turn: RwLockWriteGuard<'a, ()>,
}

impl Deref for Exclusive<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl DerefMut for Exclusive<'_> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}

/// The shards of states: one bit each.
fn shards_of(column: Column<'_>) -> u32 {
    fn each<K: AsKey>(keys: &[K]) -> u32 {
        let mut shards = 0;
        for keys in keys.chunks(256) {
            shards = keys
                .iter()
                .fold(shards, |shards, key| shards | 1 << shard_of(key.key()));
            if shards == (1 << SHARDS) - 1 {
                break;
            }
        }
        shards
    }
    match column {
        Column::Ints(keys) => each(keys),
        Column::Keys(keys) => each(keys),
    }
}
