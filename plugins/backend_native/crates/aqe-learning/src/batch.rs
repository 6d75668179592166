//! Batches: one after the other in meaning, with the memory of the next ones already on its way.
//!
//! A slice at a time, keys become numbers in tight loops whose cache misses overlap; then the updates run in order.
//! States and actions of a slice are entered before its next states are looked up. One that is entered too early has
//! no value yet, and so reads as the initial value, as one that is not there.

use std::sync::MutexGuard;

use crate::keys::{AsKey, Dense, Key};
use crate::learner::{Column, SHARDS, Table, Transitions, place, shard_of, split};
use crate::prefetch::ask;
use crate::table::{Cell, NEVER, Rules, Shard, TERMINAL, TILE, UNSEEN, followed, worth_of_home};

const SLICE: usize = 512; // its numbers stay in the first cache
const AHEAD: usize = 14; // so many updates before it is used, memory is asked for

type Guards<'a> = [Option<MutexGuard<'a, Shard>>; SHARDS];

/// The numbers of a slice.
#[derive(Default)]
struct Numbers {
    /// Shard and home of each state.
    places: Vec<u32>,
    /// Number of each action, from 1 on.
    actions: Vec<u32>,
    /// Shard and home of each next state.
    sources: Vec<u32>,
    /// Number of each next action, 0 for one never seen.
    next_actions: Vec<u32>,
}

/// Learn from transitions in order, in shards that are held.
pub(crate) fn learn(table: &Table, guards: &mut Guards<'_>, transitions: &Transitions<'_>) {
    let pairwise = transitions.next_actions.filter(|_| table.rules.on_policy);
    let mut numbers = Numbers::default();
    let mut steps = table.next_steps(transitions.rewards.len());
    for start in (0..transitions.rewards.len()).step_by(SLICE) {
        let range = start..transitions.rewards.len().min(start + SLICE);
        let dones = transitions.dones.map(|dones| &dones[range.clone()]);
        let mut most = number_actions(
            table,
            part(transitions.actions, &range),
            true,
            &mut numbers.actions,
        );
        number_states(
            table,
            guards,
            part(transitions.states, &range),
            &mut numbers.places,
        );
        number_sources(
            table,
            guards,
            part(transitions.next_states, &range),
            dones,
            &mut numbers,
        );
        numbers.next_actions.clear();
        if let Some(column) = pairwise {
            most = most.max(number_actions(
                table,
                part(column, &range),
                false,
                &mut numbers.next_actions,
            ));
            forget_sources_of_unknown(&mut numbers);
        }
        let rewards = &transitions.rewards[range];
        let first = steps.start;
        steps.start += rewards.len() as u64;
        for guard in guards.iter_mut().flatten() {
            guard.make_room(first, steps.start - 1);
        }
        let one_tile = most <= TILE;
        let (rules, first) = (&table.rules, first as u32);
        match (one_tile, pairwise.is_some(), rules.on_policy) {
            (false, ..) => run_tiled(guards, &numbers, rewards, rules, first),
            (true, true, _) => run::<true, true>(guards, &numbers, rewards, rules, first),
            (true, false, true) => run::<false, true>(guards, &numbers, rewards, rules, first),
            (true, false, false) => run::<false, false>(guards, &numbers, rewards, rules, first),
        }
    }
}

fn part<'a>(column: Column<'a>, range: &std::ops::Range<usize>) -> Column<'a> {
    match column {
        Column::Ints(keys) => Column::Ints(&keys[range.clone()]),
        Column::Keys(keys) => Column::Keys(&keys[range.clone()]),
    }
}

const POISONED: &str = "no thread panicked while it numbered states or actions";

/// Number actions (0: none), with `add` all of them; return how many actions the table knows.
fn number_actions(table: &Table, column: Column<'_>, add: bool, numbers: &mut Vec<u32>) -> usize {
    let number = |column: Option<usize>| column.map_or(0, |column| column as u32 + 1);
    numbers.clear();
    {
        let actions = table.actions.read().expect(POISONED);
        match column {
            Column::Ints(keys) => {
                let dense = actions.dense();
                numbers.extend(keys.iter().map(|&key| dense.get(key)));
                each_missing(keys, numbers, |key| number(actions.find(key)));
            }
            Column::Keys(keys) => {
                numbers.extend(keys.iter().map(|&key| number(actions.find(key))));
            }
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
fn number_states(
    table: &Table,
    guards: &mut Guards<'_>,
    column: Column<'_>,
    places: &mut Vec<u32>,
) {
    find_all(table, guards, column, places);
    if all_there(places) {
        return;
    }
    let mut ints = table.ints.write().expect(POISONED);
    let add = |key: Key<'_>| {
        let number = shard_of(key);
        let shard = guards[number].as_mut().expect(HELD);
        match key {
            Key::Int(small) if Dense::takes(small) => {
                if ints.get(small) == 0 {
                    ints.set(small, place(shard.add(key, table.next_stamp()), number));
                }
                ints.get(small)
            }
            _ => match shard.find(key) {
                UNSEEN => place(shard.add(key, table.next_stamp()), number),
                home => place(home, number),
            },
        }
    };
    match column {
        Column::Ints(keys) => each_missing(keys, places, add),
        Column::Keys(keys) => each_missing(keys, places, add),
    }
}

/// Find each state; 0 where there is none.
fn find_all(table: &Table, guards: &Guards<'_>, column: Column<'_>, places: &mut Vec<u32>) {
    let ints = table.ints.read().expect(POISONED);
    let find = |key: Key<'_>| {
        if let Key::Int(small) = key
            && Dense::takes(small)
        {
            return ints.get(small);
        }
        let number = shard_of(key);
        match guards[number].as_ref().expect(HELD).find(key) {
            UNSEEN => 0,
            home => place(home, number),
        }
    };
    places.clear();
    match column {
        Column::Ints(keys) => {
            places.extend(keys.iter().map(|&key| ints.get(key)));
            if !keys.iter().fold(true, |all, &key| all & Dense::takes(key)) {
                each_missing(keys, places, find);
            }
        }
        Column::Keys(keys) => places.extend(keys.iter().map(|&key| find(key))),
    }
}

/// Find each next state; where there is none, or none that counts, a home that stands for it.
fn number_sources(
    table: &Table,
    guards: &Guards<'_>,
    column: Column<'_>,
    dones: Option<&[bool]>,
    numbers: &mut Numbers,
) {
    let Numbers {
        places, sources, ..
    } = numbers;
    find_all(table, guards, column, sources);
    // One that is not there reads the same in every shard. Without a branch: it may be any of them.
    for (source, own) in sources.iter_mut().zip(places.iter()) {
        let unseen = place(UNSEEN, split(*own).0);
        *source = if *source == 0 { unseen } else { *source };
    }
    if let Some(dones) = dones {
        for ((source, done), own) in sources.iter_mut().zip(dones).zip(places) {
            *source = if *done {
                place(TERMINAL, split(*own).0)
            } else {
                *source
            };
        }
    }
}

/// Let a next action that was never seen read the initial value, but at the end of an episode.
fn forget_sources_of_unknown(numbers: &mut Numbers) {
    for (source, action) in numbers.sources.iter_mut().zip(&numbers.next_actions) {
        let (shard, home) = split(*source);
        if *action == 0 && home != TERMINAL as usize {
            *source = place(UNSEEN, shard);
        }
    }
}

/// Learn a slice while no state has more than its home block; the first update has this number.
fn run<const PAIRWISE: bool, const ON_POLICY: bool>(
    guards: &mut Guards<'_>,
    numbers: &Numbers,
    rewards: &[f64],
    rules: &Rules,
    first: u32,
) {
    let rules = &Rules {
        on_policy: ON_POLICY,
        ..*rules
    };
    let n = rewards.len();
    let (places, sources, actions) = (
        &numbers.places[..n],
        &numbers.sources[..n],
        &numbers.actions[..n],
    );
    let mut known = [0_usize; SHARDS];
    {
        let mut cells: [&mut [Cell]; SHARDS] = Default::default();
        let mut worths: [&mut [f64]; SHARDS] = Default::default();
        for (number, guard) in guards.iter_mut().enumerate() {
            if let Some(shard) = guard {
                let shard: &mut Shard = shard;
                (cells[number], worths[number]) = (&mut shard.cells, &mut shard.worths);
            }
        }
        for i in 0..n {
            if let (Some(&source), Some(&place)) = (sources.get(i + AHEAD), places.get(i + AHEAD)) {
                let (shard, home) = split(source);
                ask(worths[shard], home);
                let (shard, home) = split(place);
                ask(worths[shard], home);
                ask(cells[shard], home * TILE + actions[i + AHEAD] as usize - 1);
            }
            let (shard, home) = split(sources[i]);
            let next = if PAIRWISE {
                value_of(cells[shard], home, numbers.next_actions[i], rules)
            } else {
                let worth = &mut worths[shard][home];
                if worth.is_nan() {
                    *worth = worth_of_home(cells[shard], home, rules);
                }
                *worth
            };
            let (shard, home) = split(places[i]);
            let cell = &mut cells[shard][home * TILE + actions[i] as usize - 1];
            let step = cell.step(rewards[i], next, rules, first.wrapping_add(i as u32));
            let worth = &mut worths[shard][home];
            *worth = followed(*worth, &step, ON_POLICY);
            known[shard] += usize::from(step.first);
        }
    }
    for (guard, known) in guards.iter_mut().zip(known) {
        if let Some(shard) = guard {
            shard.known += known;
        }
    }
}

/// The value of a pair in a home block, which may stand for a state that is not there.
#[inline(always)]
fn value_of(cells: &[Cell], home: usize, action: u32, rules: &Rules) -> f64 {
    // Blocks that stand for a state hold one value everywhere, so that any action may be read.
    let value = cells[home * TILE + (action as usize).saturating_sub(1)].value;
    if value == NEVER { rules.initial } else { value }
}

/// Learn a slice where states may have further blocks.
fn run_tiled(
    guards: &mut Guards<'_>,
    numbers: &Numbers,
    rewards: &[f64],
    rules: &Rules,
    first: u32,
) {
    for (i, &reward) in rewards.iter().enumerate() {
        let (shard, home) = split(numbers.sources[i]);
        let source = guards[shard].as_mut().expect(HELD);
        let next = match numbers.next_actions.get(i) {
            _ if home == TERMINAL as usize => 0.0,
            _ if home == UNSEEN as usize => rules.initial,
            None => source.worth(home as u32, rules),
            Some(&action) => source.value(home as u32, action as usize - 1),
        };
        let (shard, home) = split(numbers.places[i]);
        let own = guards[shard].as_mut().expect(HELD);
        own.learn(
            home as u32,
            numbers.actions[i] as usize - 1,
            reward,
            next,
            rules,
            first.wrapping_add(i as u32),
        );
    }
}
