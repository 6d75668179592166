//! The table against the formula over a map: singles, batches, states that moved, threads.

use std::collections::HashMap;

use aqe_learning::{Column, Key, Learner, Name, Rules, SHARDS, Table, Transitions, Twister};
use proptest::prelude::*;

/// Q-learning and SARSA as the books have them; sums in the order in which actions were first seen.
struct Formula {
    rules: Rules,
    seen: Vec<i64>,
    values: HashMap<(i64, i64), f64>,
}

impl Formula {
    fn worth(&self, state: i64) -> f64 {
        let values = self
            .seen
            .iter()
            .filter_map(|&action| self.values.get(&(state, action)));
        let tried: Vec<f64> = values.copied().collect();
        let untried = self.rules.declared.saturating_sub(tried.len());
        if tried.is_empty() {
            return self.rules.initial;
        }
        let highest = tried.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best = if untried > 0 {
            highest.max(self.rules.initial)
        } else {
            highest
        };
        if !self.rules.on_policy {
            return best;
        }
        let sum = tried.iter().fold(0.0, |sum, value| sum + value);
        let mean = (sum + untried as f64 * self.rules.initial) / (tried.len() + untried) as f64;
        (1.0 - self.rules.epsilon) * best + self.rules.epsilon * mean
    }

    fn update(&mut self, row: &Row) {
        if !self.seen.contains(&row.action) {
            self.seen.push(row.action);
        }
        let next = match row.next_action {
            _ if row.done => 0.0,
            Some(action) if self.rules.on_policy => *self
                .values
                .get(&(row.next_state, action))
                .unwrap_or(&self.rules.initial),
            _ => self.worth(row.next_state),
        };
        let Rules {
            learning_rate,
            discount,
            initial,
            ..
        } = self.rules;
        let value = self
            .values
            .entry((row.state, row.action))
            .or_insert(initial);
        *value += learning_rate * (row.reward + discount * next - *value);
    }
}

#[derive(Clone, Debug)]
struct Row {
    state: i64,
    action: i64,
    reward: f64,
    next_state: i64,
    done: bool,
    next_action: Option<i64>,
}

/// Few states, of which some share a shard and some lie beyond the array.
fn key() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![0, 1, 2, 16, 17, 33, -1, -16, 1 << 30, i64::MIN])
}

fn rows(actions: i64) -> impl Strategy<Value = Vec<Row>> {
    let reward = prop_oneof![Just(0.0), Just(-1.0), -10.0..10.0];
    let row = (key(), 0..actions, reward, key(), any::<bool>(), 0..actions);
    let rows = prop::collection::vec(row, 0..if cfg!(miri) { 12 } else { 200 });
    (rows, any::<bool>()).prop_map(|(rows, pairwise)| {
        let make = |(state, action, reward, next_state, done, next)| Row {
            state,
            action,
            reward,
            next_state,
            done,
            next_action: Some(next).filter(|_| pairwise),
        };
        rows.into_iter().map(make).collect()
    })
}

fn teach(learner: &Learner, rows: &[Row]) {
    let column = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<_>>();
    let (states, actions, next_states) = (
        column(|row| row.state),
        column(|row| row.action),
        column(|row| row.next_state),
    );
    let next_actions: Option<Vec<i64>> = rows.iter().map(|row| row.next_action).collect();
    let rewards: Vec<f64> = rows.iter().map(|row| row.reward).collect();
    let dones: Vec<bool> = rows.iter().map(|row| row.done).collect();
    let transitions = Transitions {
        states: Column::Ints(&states),
        actions: Column::Ints(&actions),
        rewards: &rewards,
        next_states: Column::Ints(&next_states),
        dones: Some(&dones),
        next_actions: next_actions.as_deref().map(Column::Ints),
    };
    learner.update_batch(&transitions).unwrap();
}

fn teach_one(table: &mut Table, row: &Row) {
    let next = row.next_action.map(Key::Int);
    let learned = table.update(
        row.state,
        row.action,
        row.reward,
        row.next_state,
        row.done,
        next,
    );
    learned.unwrap();
}

fn rules(on_policy: bool) -> Rules {
    Rules {
        learning_rate: 0.3,
        discount: 0.9,
        epsilon: 0.25,
        initial: 0.5,
        on_policy,
        declared: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn batches_and_singles_follow_the_formula(
        parts in prop_oneof![prop::collection::vec(rows(4), 1..4), prop::collection::vec(rows(30), 1..4)],
        on_policy: bool,
        closed: bool,
    ) {
        let declared: Vec<Name> = if closed { (0..30).map(Name::Int).collect() } else { Vec::new() };
        let rules = Rules { declared: declared.len(), ..rules(on_policy) };
        let batches = Learner::new(Table::new(rules, &declared, 1));
        let mut singles = Table::new(rules, &declared, 1);
        let seen = if closed { (0..30).collect() } else { Vec::new() };
        let mut formula = Formula { rules, seen, values: HashMap::new() };
        for part in &parts {
            teach(&batches, part);
            for row in part {
                teach_one(&mut singles, row);
                formula.update(row);
            }
        }
        let learned = singles.learned();
        prop_assert_eq!(&batches.exclusive().learned(), &learned);
        prop_assert_eq!(learned.pairs.len(), formula.values.len());
        prop_assert_eq!(singles.known(), formula.values.len());
        prop_assert_eq!(singles.steps(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
        for (&(state, action), &value) in &formula.values {
            prop_assert_eq!(singles.value(Key::Int(state), Key::Int(action)).unwrap(), value);
        }
        let mut again = Table::from_learned(rules, declared.len(), 1, &learned).unwrap();
        prop_assert_eq!(again.learned(), learned);
    }
}

/// Several slices long, with states and actions that appear on the way; batches run as compiled for wide registers,
/// singles as for any processor.
#[test]
fn long_batches_are_singles_bit_for_bit() {
    let n = if cfg!(miri) { 40 } else { 3000 };
    for (states, actions, on_policy) in [
        (1, 1, false),
        (7, 11, false),
        (5000, 10, false),
        (600, 40, false),
        (7, 4, true),
        (600, 11, true),
    ] {
        let mut random = Twister::new(states as u64);
        let mut draw = |n: i64| (random.random() * n as f64) as i64;
        let row = |i: i64| Row {
            state: draw(states.min(i + 1)) * 3,
            action: draw(actions.min(i / 5 + 1)),
            reward: draw(9) as f64 - 4.5,
            next_state: draw(states + 1) * 3,
            done: draw(10) == 0,
            next_action: Some(draw(actions)).filter(|_| on_policy),
        };
        let rows: Vec<Row> = (0..n).map(row).collect();
        let batches = Learner::new(Table::new(rules(on_policy), &[], 1));
        let mut singles = Table::new(rules(on_policy), &[], 1);
        for part in rows.chunks(1300) {
            teach(&batches, part);
        }
        rows.iter().for_each(|row| teach_one(&mut singles, row));
        assert_eq!(batches.exclusive().known(), singles.known());
        let (ours, theirs) = (batches.exclusive().learned(), singles.learned());
        assert_eq!(ours.pairs.len(), singles.known());
        assert_eq!(ours, theirs);
    }
}

/// A batch enters its states before it learns: one that comes later is worth the initial value till then, to the bit,
/// also after rates changed.
#[test]
fn states_that_come_later_are_worth_the_initial_value() {
    let declared: Vec<Name> = (0..3).map(Name::Int).collect();
    let rules = Rules {
        initial: 0.1,
        ..rules(true)
    };
    let batches = Learner::new(Table::new(rules, &declared, 1));
    let mut singles = Table::new(rules, &declared, 1);
    for step in 0..3 {
        let row = |state| Row {
            state,
            action: 0,
            reward: 0.0,
            next_state: state + 16,
            done: false,
            next_action: None,
        };
        let rows: Vec<Row> = (0..4).map(|i| row(16 * (5 * step + i))).collect();
        teach(&batches, &rows);
        rows.iter().for_each(|row| teach_one(&mut singles, row));
        batches.exclusive().set_rates(0.3, 0.9, 1.0);
        singles.set_rates(0.3, 0.9, 1.0);
        assert_eq!(batches.exclusive().learned(), singles.learned());
    }
}

#[test]
fn undeclared_actions_are_refused_and_nothing_is_learned() {
    let mut table = Table::new(rules(true), &[Name::Int(1), Name::Text(b"b"[..].into())], 0);
    assert!(table.update(1_i64, 2, 1.0, 1, false, None).is_err());
    assert!(
        table
            .update(1_i64, 1, 1.0, 1, false, Some(Key::text(b"c")))
            .is_err()
    );
    assert!(
        table
            .choose(Key::Int(1), &[Key::Int(1), Key::Int(7)], true)
            .is_err()
    );
    assert!(table.value(Key::Int(1), Key::text(b"1")).is_err());
    let learner = Learner::new(table);
    let ones = [1, 1, 1];
    let transitions = Transitions {
        states: Column::Ints(&ones),
        actions: Column::Ints(&[1, 1, 3]),
        rewards: &[0.0; 3],
        next_states: Column::Ints(&ones),
        dones: None,
        next_actions: None,
    };
    assert_eq!(learner.update_batch(&transitions).unwrap_err().0, 2);
    assert_eq!(learner.exclusive().learned().states, vec![]);
}

#[test]
fn threads_lose_no_update() {
    let n = if cfg!(miri) { 8 } else { 500 };
    let learner = Learner::new(Table::new(rules(false), &[], 0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let learner = &learner;
            scope.spawn(move || {
                let row = |i: i64| Row {
                    state: i * SHARDS as i64 + thread % 2, // two share their shard, one has its own
                    action: i % 20,
                    reward: 1.0,
                    next_state: (i + 1) * SHARDS as i64 + thread % 2,
                    done: false,
                    next_action: None,
                };
                let rows: Vec<Row> = (0..n).map(row).collect();
                let one = |table: &mut Table| table.update(-1_i64, 0, 1.0, -1, false, None);
                for _ in 0..2 {
                    teach(learner, &rows);
                    for _ in 0..n {
                        match learner.try_exclusive() {
                            Some(mut table) => one(&mut table).unwrap(),
                            None => one(&mut learner.exclusive()).unwrap(),
                        }
                    }
                }
            });
        }
    });
    let mut table = learner.exclusive();
    assert_eq!(table.steps(), 12 * n as u64);
    let (visits, _) = table.visits(Key::Int(-1), Key::Int(0)).unwrap();
    assert_eq!(visits, 6 * n as u64);
    assert_eq!(table.known(), 2 * n as usize + 1);
}
