//! Batches: one after the other in meaning, with the memory of the next ones already on its way.
//!
//! A slice at a time, keys become numbers in tight loops whose cache misses overlap; then the updates run in order.
//! States and actions of a slice are entered before its next states are looked up. One that is entered too early has
//! no value yet, and so reads as the initial value, as one that is not there.

use std::sync::MutexGuard;

use crate::keys::{AsKey, Key};
use crate::learner::{Column, SHARD_BITS, SHARDS, Table, Transitions, place, shard_of};
use crate::table::{Block, NEVER, Rules, Shard, TERMINAL, TILE, UNSEEN, worth_of_home};

const SLICE: usize = 1024; // its numbers stay in the first cache
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

/// Number actions (0: none), with `add` all of them; return how many actions the table knows.
fn number_actions(table: &Table, column: Column<'_>, add: bool, numbers: &mut Vec<u32>) -> usize {
    fn each<K: AsKey>(table: &Table, keys: &[K], add: bool, numbers: &mut Vec<u32>) -> usize {
        let poisoned = "no thread panicked while it numbered actions";
        let number = |column: Option<usize>| column.map_or(0, |column| column as u32 + 1);
        numbers.clear();
        {
            let actions = table.actions.read().expect(poisoned);
            let mut least = u32::MAX;
            numbers.extend(keys.iter().map(|key| {
                let number = number(actions.find(key.key()));
                least = least.min(number);
                number
            }));
            if !add || least > 0 {
                return actions.len();
            }
        }
        let mut actions = table.actions.write().expect(poisoned);
        numbers.clear();
        numbers.extend(
            keys.iter()
                .map(|key| number(actions.find_or_add(key.key()).ok())),
        );
        actions.len()
    }
    match column {
        Column::Ints(keys) => each(table, keys, add, numbers),
        Column::Keys(keys) => each(table, keys, add, numbers),
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
    fn each<K: AsKey>(table: &Table, guards: &mut Guards<'_>, keys: &[K], places: &mut [u32]) {
        for (key, found) in keys
            .iter()
            .zip(places)
            .filter(|(_, found)| split(**found).1 == UNSEEN as usize)
        {
            let number = shard_of(key.key());
            let shard = guards[number].as_mut().expect(HELD);
            *found = place(shard.find_or_add(key.key(), || table.next_stamp()), number);
        }
    }
    if find_all(guards, column, places) {
        return;
    }
    match column {
        Column::Ints(keys) => each(table, guards, keys, places),
        Column::Keys(keys) => each(table, guards, keys, places),
    }
}

/// Find each state; return whether all are there.
fn find_all(guards: &Guards<'_>, column: Column<'_>, places: &mut Vec<u32>) -> bool {
    let held: [Option<&Shard>; SHARDS] = std::array::from_fn(|number| guards[number].as_deref());
    let find = |key: Key<'_>| {
        let number = shard_of(key);
        place(held[number].expect(HELD).find(key), number)
    };
    let dense: [&[u32]; SHARDS] = held.map(|shard| shard.map_or(&[][..], Shard::dense));
    places.clear();
    match column {
        Column::Ints(keys) => places.extend(keys.iter().map(|&key| {
            let number = key as usize % SHARDS;
            // A negative key is a huge position, where nothing is.
            match dense[number].get((key >> SHARD_BITS) as usize) {
                Some(&home) => place(home, number),
                None => find(Key::Int(key)),
            }
        })),
        Column::Keys(keys) => places.extend(keys.iter().map(|&key| find(key))),
    }
    places
        .iter()
        .fold(u32::MAX, |least, &found| least.min(found >> SHARD_BITS))
        > UNSEEN
}

/// Find each next state; where there is none, or none that counts, a home that stands for it.
fn number_sources(
    guards: &Guards<'_>,
    column: Column<'_>,
    dones: Option<&[bool]>,
    numbers: &mut Numbers,
) {
    let Numbers {
        places, sources, ..
    } = numbers;
    // A next state that is not there reads the same in its own shard.
    find_all(guards, column, sources);
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

/// Shard and home of a place.
#[inline(always)]
fn split(place: u32) -> (usize, usize) {
    (place as usize % SHARDS, (place >> SHARD_BITS) as usize)
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
        let mut blocks: [&mut [Block]; SHARDS] = Default::default();
        for (blocks, guard) in blocks.iter_mut().zip(guards.iter_mut()) {
            if let Some(shard) = guard {
                *blocks = &mut shard.blocks;
            }
        }
        let firsts = blocks.each_ref().map(|blocks| blocks.as_ptr());
        let ask = |i: usize| {
            let (shard, home) = split(sources[i]);
            Block::prefetch(firsts[shard].wrapping_add(home), None);
            let (shard, home) = split(places[i]);
            Block::prefetch(
                firsts[shard].wrapping_add(home),
                Some(actions[i] as usize - 1),
            );
        };
        (0..n.min(AHEAD)).for_each(ask);
        for i in 0..n {
            if i + AHEAD < n {
                ask(i + AHEAD);
            }
            let (shard, home) = split(sources[i]);
            let source = &mut blocks[shard][home];
            let next = if PAIRWISE {
                value_of(source, numbers.next_actions[i], rules)
            } else {
                worth_of_home(source, rules)
            };
            let (shard, home) = split(places[i]);
            let block = &mut blocks[shard][home];
            let offset = actions[i] as usize - 1;
            let number = first.wrapping_add(i as u32);
            let step = block.step(offset, rewards[i], next, rules, number);
            block.follow(&step, ON_POLICY);
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
fn value_of(block: &Block, action: u32, rules: &Rules) -> f64 {
    // Blocks that stand for a state hold one value everywhere, so that any action may be read.
    let value = block.cells[(action as usize).saturating_sub(1)].value;
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
