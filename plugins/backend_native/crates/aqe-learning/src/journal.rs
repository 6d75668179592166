//! Transitions that were learned, kept in order until they are safe elsewhere; each name once.

use crate::keys::{Index, Key, Name};
use crate::learner::{Column, Transitions};

/// One transition.
#[derive(Clone, Copy)]
pub struct Transition<'a> {
    /// Where something was done.
    pub state: Key<'a>,
    /// What was done.
    pub action: Key<'a>,
    /// What it brought.
    pub reward: f64,
    /// Where it led.
    pub next_state: Key<'a>,
    /// Whether the episode ended there.
    pub done: bool,
    /// What is done there, if that is known.
    pub next_action: Option<Key<'a>>,
}

/// Transitions in columns, names as numbers in order of appearance.
pub struct Journal {
    index: Index,
    /// States, actions, next states and next actions: numbers of names from 1 on, 0 where there is none.
    keys: [Vec<u32>; 4],
    rewards: Vec<f64>,
    dones: Vec<bool>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            index: Index::new(1),
            keys: Default::default(),
            rewards: Vec::new(),
            dones: Vec::new(),
        }
    }
}

impl Journal {
    /// Number of transitions kept.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Names, the first of which has the number 1.
    pub fn names(&self) -> &[Name] {
        self.index.names()
    }

    /// Columns of the first `n`, or of all: states, actions, next states, next actions; rewards; dones.
    pub fn first(&self, n: usize) -> ([&[u32]; 4], &[f64], &[bool]) {
        let n = n.min(self.len());
        let keys = self.keys.each_ref().map(|column| &column[..n]);
        (keys, &self.rewards[..n], &self.dones[..n])
    }

    /// Keep one more. O(1), amortized.
    #[inline]
    pub fn push(&mut self, step: &Transition<'_>) {
        let next_action = step.next_action.map_or(0, |key| self.number(key));
        let keys = [step.state, step.action, step.next_state].map(|key| self.number(key));
        let numbers = [keys[0], keys[1], keys[2], next_action];
        for (column, number) in self.keys.iter_mut().zip(numbers) {
            column.push(number);
        }
        self.rewards.push(step.reward);
        self.dones.push(step.done);
    }

    /// Keep more of them. O(transitions).
    pub fn extend(&mut self, steps: &Transitions<'_>) {
        for i in 0..steps.rewards.len() {
            self.push(&Transition {
                state: at(steps.states, i),
                action: at(steps.actions, i),
                reward: steps.rewards[i],
                next_state: at(steps.next_states, i),
                done: steps.dones.is_some_and(|dones| dones[i]),
                next_action: steps.next_actions.map(|column| at(column, i)),
            });
        }
    }

    /// Forget the first `n`, or all. Names are forgotten when nothing is kept.
    pub fn drop_first(&mut self, n: usize) {
        let n = n.min(self.len());
        if n == self.len() {
            self.index = Index::new(1);
        }
        for column in &mut self.keys {
            column.drain(..n);
        }
        self.rewards.drain(..n);
        self.dones.drain(..n);
    }

    #[inline]
    fn number(&mut self, key: Key<'_>) -> u32 {
        match self.index.find(key) {
            0 => self.index.add(key),
            number => number,
        }
    }
}

fn at(column: Column<'_>, i: usize) -> Key<'_> {
    match column {
        Column::Ints(keys) => Key::Int(keys[i]),
        Column::Keys(keys) => keys[i],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step<'a>(state: &'a str, reward: f64, next_action: Option<Key<'a>>) -> Transition<'a> {
        Transition {
            state: Key::text(state.as_bytes()),
            action: Key::Int(7),
            reward,
            next_state: Key::Int(-1),
            done: reward > 1.0,
            next_action,
        }
    }

    #[test]
    fn keeps_what_came_until_it_is_dropped() {
        let mut journal = Journal::default();
        journal.push(&step("7", 1.0, None));
        journal.push(&step("s", 2.0, Some(Key::text(b"7"))));
        journal.extend(&Transitions {
            states: Column::Keys(&[Key::text(b"s")]),
            actions: Column::Ints(&[7]),
            rewards: &[3.0],
            next_states: Column::Ints(&[7]),
            dones: None,
            next_actions: Some(Column::Ints(&[-1])),
        });
        let text = |text: &[u8]| Name::Text(text.into());
        let names = [text(b"7"), Name::Int(7), Name::Int(-1), text(b"s")];
        assert_eq!(journal.names(), names);
        let (keys, rewards, dones) = journal.first(9);
        assert_eq!(keys, [[1, 4, 4], [2, 2, 2], [3, 3, 2], [0, 1, 3]]);
        assert_eq!(
            (rewards, dones),
            (&[1.0, 2.0, 3.0][..], &[false, true, false][..])
        );
        assert_eq!(journal.first(1).1, [1.0]);

        journal.drop_first(2);
        assert_eq!(journal.first(9).0, [[4], [2], [2], [3]]);
        assert_eq!((journal.len(), journal.names().len()), (1, 4));
        journal.drop_first(9);
        assert!(journal.is_empty() && journal.names().is_empty());
        journal.push(&step("s", 2.0, None));
        assert_eq!(journal.first(1).0, [[1], [2], [3], [0]]);
    }
}
