//! Policies over a table: a preference per (state, action) pair, a value per state, and a softmax that acts.
//!
//! Rules, order of operations and draws are those of `aqe_backend_numpy._policy`, `actor_critic` and `ppo`, so that
//! both give the same bits. Exponentials and logarithms are those of the C library, as Python's are.

mod rollout;
mod row;

use crate::keys::{AsKey, Index, Key, Name};
use crate::learner::{Actions, Column, Transitions, Undeclared};
use crate::table::Entry;
use crate::twister::Twister;
use rollout::Step;
use row::{Row, Softmax};

/// What updates and choices follow; checked by whoever makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Of the preferences.
    pub learning_rate: f64,
    /// Of the values of states.
    pub value_learning_rate: f64,
    /// Weight of what follows.
    pub discount: f64,
    /// Share of uniformly random choices.
    pub epsilon: f64,
    /// Weight of the entropy in what is climbed.
    pub entropy_coefficient: f64,
    /// Value of a state that was never left.
    pub initial_value: f64,
    /// Learn by rollouts (PPO), not at once (actor-critic).
    pub rollouts: Option<Rollouts>,
}

/// How PPO trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollouts {
    /// 0: one-step advantages; 1: whole returns.
    pub gae_lambda: f64,
    /// How far the ratio of new to old probability may go from 1.
    pub clip: f64,
    /// Passes over what was collected.
    pub epochs: usize,
    /// Transitions per training, above 0.
    pub length: usize,
    /// Shift and scale the advantages of a rollout to mean 0 and deviation 1.
    pub normalize: bool,
}

/// A transition that waits for training, by positions in [`Learned`].
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Of the state.
    pub state: usize,
    /// Of the action.
    pub action: usize,
    /// What it brought.
    pub reward: f64,
    /// Where it led.
    pub next_state: Name,
    /// The episode ended there.
    pub done: bool,
}

/// Everything learned, in an order that depends only on what was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// States in order of their first update.
    pub states: Vec<Name>,
    /// Their values.
    pub worths: Vec<f64>,
    /// Actions, the declared ones first, then in order of their first update.
    pub actions: Vec<Name>,
    /// Pairs as (position of the state, rest), by state, then in the order of its row.
    pub pairs: Vec<(usize, Entry)>,
    /// What waits for training.
    pub waiting: Vec<Waiting>,
    /// [`Twister::state`].
    pub generator: Vec<u32>,
}

/// A table of preferences.
pub struct Policy {
    rules: Rules,
    actions: Actions,
    declared: usize,
    states: Index,
    rows: Vec<Row>,
    waiting: Vec<Step>,
    steps: u64,
    generator: Twister,
    seed: u64,
    softmax: Softmax, // room to work in
}

impl Policy {
    /// An empty table. `declared`: the whole set of actions, each once; empty where the set is open.
    pub fn new(rules: Rules, declared: &[Name], seed: u64) -> Self {
        Self {
            rules,
            actions: Actions::new(declared),
            declared: declared.len(),
            states: Index::new(1, 0),
            rows: Vec::new(),
            waiting: Vec::new(),
            steps: 0,
            generator: Twister::new(seed),
            seed,
            softmax: Softmax::default(),
        }
    }

    /// What it follows.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Follow these from here on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The declared actions.
    pub fn declared(&self) -> &[Name] {
        &self.actions.names()[..self.declared]
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of pairs with a preference. O(states).
    pub fn known(&self) -> usize {
        self.rows.iter().map(Row::len).sum()
    }

    /// Number of updates.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learn from one transition, or keep it until the rollout is full. O(actions of the state), amortized over the
    /// epochs of a training.
    pub fn update<K: AsKey>(
        &mut self,
        state: K,
        action: K,
        reward: f64,
        next_state: K,
        done: bool,
    ) -> Result<(), Undeclared> {
        let column = self.actions.find_or_add(action.key())?;
        let next_state = next_state.key();
        if let Some(rollouts) = self.rules.rollouts {
            let (row, place) = self.enter(state.key(), column);
            self.waiting.push(Step {
                row,
                place,
                reward,
                next_state: next_state.into(),
                done,
            });
            if self.waiting.len() >= rollouts.length {
                self.train();
            }
            return Ok(());
        }
        let ahead = if done { 0.0 } else { self.worth(next_state) };
        let (row, place) = self.enter(state.key(), column);
        let rules = &self.rules;
        let row = &mut self.rows[row];
        let delta = reward + rules.discount * ahead - row.worth;
        row.worth += rules.value_learning_rate * delta;
        self.softmax.take(row.preferences());
        row.climb(place, rules.learning_rate * delta, &self.softmax, rules);
        Ok(())
    }

    /// Learn from transitions in order, as [`Policy::update`] does one by one, bit for bit.
    ///
    /// An undeclared action is refused before anything is learned. Next actions are not looked at.
    pub fn update_batch(&mut self, transitions: &Transitions<'_>) -> Result<(), Undeclared> {
        self.actions.check_all(transitions.actions)?;
        let done = |i| transitions.dones.is_some_and(|dones: &[bool]| dones[i]);
        let (states, actions, after) = (
            transitions.states,
            transitions.actions,
            transitions.next_states,
        );
        for (i, &reward) in transitions.rewards.iter().enumerate() {
            self.update(at(states, i), at(actions, i), reward, at(after, i), done(i))?;
        }
        Ok(())
    }

    /// The row of a state and the place of an action in it, made if need be; the visit is counted.
    fn enter(&mut self, state: Key<'_>, column: usize) -> (usize, usize) {
        let row = match self.states.find(state) {
            0 => {
                self.states.add(state);
                self.rows
                    .push(Row::new(self.rules.initial_value, self.declared));
                self.rows.len() - 1
            }
            number => number as usize - 1,
        };
        self.steps += 1;
        (row, self.rows[row].enter(column, self.steps))
    }

    fn row(&self, state: Key<'_>) -> Option<&Row> {
        let number = self.states.find(state) as usize;
        number.checked_sub(1).map(|row| &self.rows[row])
    }

    /// The value of a state; the initial value if it was never left. O(1).
    pub fn worth(&self, state: Key<'_>) -> f64 {
        self.row(state)
            .map_or(self.rules.initial_value, |row| row.worth)
    }

    /// The preference of a pair, the number of its updates and the number of the last of them among all; zero if it was
    /// never tried. O(actions of the state).
    pub fn pair(&self, state: Key<'_>, action: Key<'_>) -> Result<(f64, u64, u64), Undeclared> {
        self.actions.check(action)?;
        let found = self.actions.find(action);
        let held = self.row(state).zip(found).and_then(|(row, column)| {
            let place = row.place(column)?;
            Some((
                row.preferences()[place],
                row.visits()[place],
                row.lasts()[place],
            ))
        });
        Ok(held.unwrap_or((0.0, 0, 0)))
    }

    /// The preferences of the offered actions.
    fn preferences(&self, state: Key<'_>, offered: &[Key<'_>]) -> Result<Vec<f64>, Undeclared> {
        let pairs = offered.iter().map(|&action| self.pair(state, action));
        pairs.map(|pair| pair.map(|(value, ..)| value)).collect()
    }

    /// The softmax over the offered actions, which must not be empty.
    pub fn shares(&mut self, state: Key<'_>, offered: &[Key<'_>]) -> Result<Vec<f64>, Undeclared> {
        let preferences = self.preferences(state, offered)?;
        self.softmax.take(&preferences);
        Ok(self.softmax.shares().to_vec())
    }

    /// The position of the chosen one of the offered actions, which must not be empty. O(offered).
    ///
    /// The first of the most preferred; or, exploring, by two draws, what `aqe_backend_numpy` chooses.
    pub fn choose(
        &mut self,
        state: Key<'_>,
        offered: &[Key<'_>],
        explore: bool,
    ) -> Result<usize, Undeclared> {
        let preferences = self.preferences(state, offered)?;
        if !explore {
            return Ok(first_largest(&preferences));
        }
        let uniform = self.generator.random() < self.rules.epsilon;
        let draw = self.generator.random();
        if uniform {
            return Ok((draw * offered.len() as f64) as usize);
        }
        self.softmax.take(&preferences);
        let shares = self.softmax.shares();
        let mut total = 0.0;
        let drawn = shares.iter().position(|share| {
            total += share;
            draw < total
        });
        Ok(drawn.unwrap_or_else(|| first_largest(shares))) // the draw lies above the rounded sum
    }

    /// Everything learned. O(pairs).
    pub fn learned(&self) -> Learned {
        let pairs = self.rows.iter().enumerate();
        Learned {
            states: self.states.names().to_vec(),
            worths: self.rows.iter().map(|row| row.worth).collect(),
            actions: self.actions.names().to_vec(),
            pairs: pairs
                .flat_map(|(at, row)| row.entries().map(move |entry| (at, entry)))
                .collect(),
            waiting: self.waiting.iter().map(|step| self.told(step)).collect(),
            generator: self.generator.state(),
        }
    }

    /// A table that has learned this: names and pairs at most once, positions within the names, waiting transitions
    /// of pairs that are there. `None` if the generator's state is none.
    pub fn from_learned(
        rules: Rules,
        declared: usize,
        seed: u64,
        learned: &Learned,
    ) -> Option<Self> {
        let mut policy = Self::new(rules, &learned.actions[..declared], seed);
        policy.generator = Twister::from_state(&learned.generator)?;
        for action in &learned.actions[declared..] {
            policy.actions.add(action.key());
        }
        for (state, &worth) in learned.states.iter().zip(&learned.worths) {
            policy.states.add(state.key());
            policy.rows.push(Row::new(worth, 0));
        }
        for &(row, entry) in &learned.pairs {
            policy.rows[row].push(entry);
            policy.steps = policy.steps.wrapping_add(entry.visits);
        }
        for step in &learned.waiting {
            let place = policy.rows[step.state].place(step.action)?;
            policy.waiting.push(Step {
                row: step.state,
                place,
                reward: step.reward,
                next_state: step.next_state.clone(),
                done: step.done,
            });
        }
        Some(policy)
    }
}

fn at<'a>(column: Column<'a>, i: usize) -> Key<'a> {
    match column {
        Column::Ints(keys) => Key::Int(keys[i]),
        Column::Keys(keys) => keys[i],
    }
}

/// The position of the largest, of equal ones the first, as Python's `max` finds it.
fn first_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (position, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = position;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        learning_rate: 0.5,
        value_learning_rate: 0.5,
        discount: 0.9,
        epsilon: 0.0,
        entropy_coefficient: 0.0,
        initial_value: 0.0,
        rollouts: None,
    };

    fn value(policy: &Policy, state: i64, action: i64) -> f64 {
        policy.pair(Key::Int(state), Key::Int(action)).unwrap().0
    }

    #[test]
    fn a_preference_rises_by_what_its_probability_leaves() {
        for rollouts in [None, Some((1, 1)), Some((1, 2))] {
            let rollouts = rollouts.map(|(length, epochs)| Rollouts {
                gae_lambda: 0.5,
                clip: 0.2,
                epochs,
                length,
                normalize: false,
            });
            let mut policy = Policy::new(Rules { rollouts, ..RULES }, &[], 0);
            policy.update(1, 10, 2.0, 9, true).unwrap();
            assert_eq!(value(&policy, 1, 10), 0.0); // its probability is 1 already
            let epochs = rollouts.map_or(1, |rollouts| rollouts.epochs);
            let worth = policy.worth(Key::Int(1));
            assert_eq!(worth, if epochs == 1 { 1.0 } else { 1.5 });
            policy.update(1, 11, 4.0, 9, true).unwrap();
            let step = 0.5 * (4.0 - worth) * 0.5; // both had a half; a second epoch is clipped
            assert_eq!(
                [value(&policy, 1, 11), value(&policy, 1, 10)],
                [step, -step]
            );
            assert_eq!((policy.known(), policy.steps()), (2, 2));
        }
    }

    #[test]
    fn goes_on_from_what_it_told() {
        let rollouts = Some(Rollouts {
            gae_lambda: 0.9,
            clip: 0.2,
            epochs: 3,
            length: 7,
            normalize: true,
        });
        for (rollouts, declared) in [(None, 0), (rollouts, 0), (None, 3), (rollouts, 3)] {
            let rules = Rules {
                rollouts,
                epsilon: 0.2,
                entropy_coefficient: 0.1,
                ..RULES
            };
            let names: Vec<_> = (0..declared).map(Name::Int).collect();
            let mut whole = Policy::new(rules, &names, 4);
            let mut resumed = Policy::new(rules, &names, 5);
            for i in 0..60_i64 {
                if i == 31 {
                    let learned = whole.learned();
                    resumed = Policy::from_learned(rules, declared as usize, 4, &learned).unwrap();
                    assert_eq!(resumed.learned(), learned);
                }
                let act = |policy: &mut Policy| {
                    let offered = [Key::Int(0), Key::Int(1), Key::Int(2)];
                    let chosen = policy.choose(Key::Int(i % 5), &offered, true).unwrap() as i64;
                    let reward = (chosen - 1) as f64;
                    policy
                        .update(i % 5, chosen, reward, (i + 1) % 5, i % 11 == 0)
                        .unwrap();
                };
                act(&mut whole);
                if i >= 31 {
                    act(&mut resumed);
                }
            }
            assert_eq!(whole.learned(), resumed.learned());
            assert_eq!(whole.steps(), 60);
        }
    }

    #[test]
    fn refuses_what_is_not_declared_and_learns_nothing() {
        let mut policy = Policy::new(RULES, &[Name::Int(1), Name::Int(2)], 0);
        let before = policy.learned();
        assert_eq!(policy.update(1, 3, 1.0, 2, false), Err(Undeclared(0)));
        let batch = Transitions {
            states: Column::Ints(&[1, 1]),
            actions: Column::Ints(&[1, 3]),
            rewards: &[1.0, 1.0],
            next_states: Column::Ints(&[1, 1]),
            dones: None,
            next_actions: None,
        };
        assert_eq!(policy.update_batch(&batch), Err(Undeclared(1)));
        assert!(policy.choose(Key::Int(1), &[Key::Int(3)], true).is_err());
        assert!(policy.pair(Key::Int(1), Key::Int(3)).is_err());
        assert_eq!(policy.learned(), before);
    }
}
