//! Batches: one after the other in meaning, with the memory of the next ones already on its way.
//!
//! A slice at a time, keys become numbers in tight loops whose cache misses overlap; then the updates run in order.
//! States and actions of a slice are entered before its next states are looked up. One that is entered too early has
//! no value yet, and so reads as the initial value, as one that is not there.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use crate::homes::{Homes, NEVER, TERMINAL, TILE, UNSEEN};
use crate::keys::{AsKey, Dense, Key};
use crate::learner::{Column, SHARDS, Table, Transitions, shard_of};
use crate::prefetch::ask;
use crate::table::{Rules, Shard, followed, worth_of_block};
use crate::wide::wide;

const SLICE: usize = 512; // its numbers stay in the first cache, or nearly
const AHEAD: usize = 14; // so many updates before it is used, memory is asked for

type Guards<'a> = [Option<MutexGuard<'a, Shard>>; SHARDS];

/// The numbers of a slice, with room for looks ahead of its last.
struct Numbers {
    /// Home of each state.
    homes: [u32; SLICE + AHEAD],
    /// Number of each action, from 1 on.
    actions: [u32; SLICE + AHEAD],
    /// Where the cell of each pair is, if it is in a home.
    cells: [u32; SLICE + AHEAD],
    /// Home of each next state.
    sources: [u32; SLICE + AHEAD],
    /// Number of each next action, 0 for one never seen.
    next_actions: [u32; SLICE + AHEAD],
}

/// Learn from transitions in order, in shards that are held.
pub(crate) fn learn(table: &Table, guards: &mut Guards<'_>, transitions: &Transitions<'_>) {
    let mut numbers = Numbers {
        homes: [0; SLICE + AHEAD],
        actions: [0; SLICE + AHEAD],
        cells: [0; SLICE + AHEAD],
        sources: [0; SLICE + AHEAD],
        next_actions: [0; SLICE + AHEAD],
    };
    let mut steps = table.next_steps(transitions.rewards.len());
    for start in (0..transitions.rewards.len()).step_by(SLICE) {
        let range = start..transitions.rewards.len().min(start + SLICE);
        let next_actions = transitions.next_actions.filter(|_| table.rules.on_policy);
        let slice = Transitions {
            states: part(transitions.states, &range),
            actions: part(transitions.actions, &range),
            rewards: &transitions.rewards[range.clone()],
            next_states: part(transitions.next_states, &range),
            dones: transitions.dones.map(|dones| &dones[range.clone()]),
            next_actions: next_actions.map(|column| part(column, &range)),
        };
        let most = number_all(table, guards, &slice, &mut numbers);
        let homes = &*table.homes.read().expect(POISONED);
        let first = steps.start;
        steps.start += slice.rewards.len() as u64;
        for guard in guards.iter_mut().flatten() {
            guard.make_room(homes, first, steps.start - 1);
        }
        let known = if most > TILE {
            run_tiled(homes, guards, &numbers, &slice, &table.rules, first as u32)
        } else {
            let run = match (slice.next_actions, table.rules.on_policy) {
                (Some(_), _) => run::<true, true>,
                (None, true) => run::<false, true>,
                (None, false) => run_best,
            };
            run(homes, &numbers, slice.rewards, &table.rules, first as u32)
        };
        table.known.fetch_add(known, Ordering::Relaxed);
    }
}

/// Number all of a slice; return how many actions the table knows.
fn number_all(
    table: &Table,
    guards: &mut Guards<'_>,
    slice: &Transitions<'_>,
    numbers: &mut Numbers,
) -> usize {
    let n = slice.rewards.len();
    let (homes, sources) = (&mut numbers.homes[..n], &mut numbers.sources[..n]);
    let actions = &mut numbers.actions[..n];
    let mut most = number_actions(table, slice.actions, true, actions);
    number_states(table, guards, slice.states, homes);
    for ((cell, &home), &action) in numbers.cells.iter_mut().zip(&*homes).zip(&*actions) {
        *cell = (home * TILE as u32).wrapping_add(action - 1); // of further blocks it means nothing
    }
    find_all(table, guards, slice.next_states, sources);
    if let Some(dones) = slice.dones {
        for (source, &done) in sources.iter_mut().zip(dones) {
            *source = if done { TERMINAL } else { *source };
        }
    }
    if let Some(column) = slice.next_actions {
        let next_actions = &mut numbers.next_actions[..n];
        most = most.max(number_actions(table, column, false, next_actions));
        // A next action that was never seen reads the initial value, but at the end of an episode.
        for (source, &action) in sources.iter_mut().zip(&*next_actions) {
            let known = action != 0 || *source == TERMINAL;
            *source = if known { *source } else { UNSEEN };
        }
    }
    most
}

fn part<'a>(column: Column<'a>, range: &std::ops::Range<usize>) -> Column<'a> {
    match column {
        Column::Ints(keys) => Column::Ints(&keys[range.clone()]),
        Column::Keys(keys) => Column::Keys(&keys[range.clone()]),
    }
}

const POISONED: &str = "no thread panicked while it numbered states or actions";

/// Number actions (0: none), with `add` all of them; return how many actions the table knows.
fn number_actions(table: &Table, column: Column<'_>, add: bool, numbers: &mut [u32]) -> usize {
    let number = |column: Option<usize>| column.map_or(0, |column| column as u32 + 1);
    {
        let actions = table.actions.read().expect(POISONED);
        match column {
            Column::Ints(keys) => {
                actions.dense().get_all(keys, numbers);
                each_missing(keys, numbers, |key| number(actions.find(key)));
            }
            Column::Keys(keys) => fill(numbers, keys, |key| number(actions.find(key))),
        }
        if !add || all_there(numbers) {
            return actions.len();
        }
    }
    let mut actions = table.actions.write().expect(POISONED);
    let add = |key: Key<'_>| number(actions.find_or_add(key).ok());
    match column {
        Column::Ints(keys) => each_missing(keys, numbers, add),
        Column::Keys(keys) => each_missing(keys, numbers, add),
    }
    actions.len()
}

fn fill<K: Copy>(numbers: &mut [u32], keys: &[K], number: impl Fn(K) -> u32) {
    for (slot, &key) in numbers.iter_mut().zip(keys) {
        *slot = number(key);
    }
}

/// Whether no number is 0. Without an early exit, so that the processor looks at several at once.
fn all_there(numbers: &[u32]) -> bool {
    !numbers
        .iter()
        .fold(false, |none, &number| none | (number == 0))
}

/// Look for the keys whose number is 0 once more, in order.
fn each_missing<K: AsKey>(keys: &[K], numbers: &mut [u32], mut look: impl FnMut(Key<'_>) -> u32) {
    if all_there(numbers) {
        return;
    }
    let pairs = keys.iter().zip(numbers);
    for (key, number) in pairs.filter(|(_, number)| **number == 0) {
        *number = look(key.key());
    }
}

const HELD: &str = "the shards of all states and next states are held";

/// Find each state, made where need be.
fn number_states(table: &Table, guards: &mut Guards<'_>, column: Column<'_>, numbers: &mut [u32]) {
    find_all(table, guards, column, numbers);
    if all_there(numbers) {
        return;
    }
    let homes = &mut *table.homes.write().expect(POISONED);
    let add = |key: Key<'_>| {
        let shard = guards[shard_of(key)].as_mut().expect(HELD);
        let found = match key {
            Key::Int(small) if Dense::takes(small) => homes.ints.get(small),
            _ => shard.find(key),
        };
        if found != UNSEEN {
            return found;
        }
        shard.add(homes, key, table.next_stamp())
    };
    match column {
        Column::Ints(keys) => each_missing(keys, numbers, add),
        Column::Keys(keys) => each_missing(keys, numbers, add),
    }
}

/// Find the home of each state; where there is none, the one that stands for it.
fn find_all(table: &Table, guards: &Guards<'_>, column: Column<'_>, numbers: &mut [u32]) {
    let ints = &table.homes.read().expect(POISONED).ints;
    let find = |key: Key<'_>| match key {
        Key::Int(small) if Dense::takes(small) => ints.get(small),
        _ => guards[shard_of(key)].as_ref().expect(HELD).find(key),
    };
    match column {
        Column::Ints(keys) => {
            if !ints.get_all(keys, numbers) {
                each_missing(keys, numbers, find);
            }
        }
        Column::Keys(keys) => fill(numbers, keys, find),
    }
}

/// Learn a slice while no state has more than its home block; the first update has this number. Return how many pairs
/// are new.
#[inline(always)]
fn run<const PAIRWISE: bool, const ON_POLICY: bool>(
    homes: &Homes,
    numbers: &Numbers,
    rewards: &[f64],
    rules: &Rules,
    first: u32,
) -> usize {
    let rules = &Rules {
        on_policy: ON_POLICY,
        ..*rules
    };
    let (cells, worths) = (&homes.cells[..], &homes.worths[..]);
    let mut known = 0;
    // No longer than a slice: then it is certain that every number is there, and none is checked.
    let rewards = &rewards[..rewards.len().min(SLICE)];
    for (i, &reward) in rewards.iter().enumerate() {
        ask(worths, numbers.sources[i + AHEAD] as usize);
        ask(worths, numbers.homes[i + AHEAD] as usize);
        ask(cells, numbers.cells[i + AHEAD] as usize);
        let source = numbers.sources[i] as usize;
        let next = if PAIRWISE {
            value_of(homes, source, numbers.next_actions[i], rules)
        } else {
            let worth = worths[source].get();
            if worth.is_nan() {
                renew(homes, source, rules)
            } else {
                worth
            }
        };
        let cell = &cells[numbers.cells[i] as usize];
        let step = cell.step(reward, next, rules, first.wrapping_add(i as u32));
        let worth = &worths[numbers.homes[i] as usize];
        worth.set(followed(worth.get(), &step, ON_POLICY));
        known += usize::from(step.first);
    }
    known
}

wide! {
    /// [`run`] where the best next action counts.
    fn run_best / run_best_portable(
        homes: &Homes,
        numbers: &Numbers,
        rewards: &[f64],
        rules: &Rules,
        first: u32,
    ) -> usize {
        run::<false, false>(homes, numbers, rewards, rules, first)
    }
}

/// What a state whose actions all lie in its home is worth, computed anew.
#[cold]
fn renew(homes: &Homes, home: usize, rules: &Rules) -> f64 {
    let worth = worth_of_block(homes.block(home as u32), rules);
    homes.worths[home].set(worth);
    worth
}

/// The value of a pair in a home block, which may stand for a state that is not there.
#[inline(always)]
fn value_of(homes: &Homes, home: usize, action: u32, rules: &Rules) -> f64 {
    // Blocks that stand for a state hold one value everywhere, so that any action may be read.
    let cell = &homes.cells[home * TILE + (action as usize).saturating_sub(1)];
    let value = cell.value.get();
    if value == NEVER { rules.initial } else { value }
}

/// Learn a slice where states may have further blocks. Return how many pairs are new.
fn run_tiled(
    homes: &Homes,
    guards: &mut Guards<'_>,
    numbers: &Numbers,
    slice: &Transitions<'_>,
    rules: &Rules,
    first: u32,
) -> usize {
    let mut known = 0;
    for (i, &reward) in slice.rewards.iter().enumerate() {
        let source = numbers.sources[i];
        let next = match slice.next_actions.map(|_| numbers.next_actions[i]) {
            _ if source == TERMINAL => 0.0,
            _ if source == UNSEEN => rules.initial,
            Some(action) => {
                holder(homes, guards, source).value(homes, source, action as usize - 1, rules)
            }
            None => {
                let worth = homes.worths[source as usize].get();
                if worth.is_nan() {
                    holder(homes, guards, source).collect(homes, source, rules)
                } else {
                    worth
                }
            }
        };
        let (home, column) = (numbers.homes[i], numbers.actions[i] as usize - 1);
        let number = first.wrapping_add(i as u32);
        let shard = holder(homes, guards, home);
        known += usize::from(shard.learn(homes, home, column, reward, next, rules, number));
    }
    known
}

fn holder<'a>(homes: &Homes, guards: &'a mut Guards<'_>, home: u32) -> &'a mut Shard {
    guards[homes.owner(home).0].as_mut().expect(HELD)
}
