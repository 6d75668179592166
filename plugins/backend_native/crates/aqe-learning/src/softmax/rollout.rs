//! PPO's training on a rollout: advantages (GAE), then clipped steps in shuffled order.

use super::{Policy, Rollouts, Waiting};
use crate::keys::Name;

const MAX_LOG_RATIO: f64 = 50.0;

/// A transition that waits: row of its state and place of its action there.
pub(super) struct Step {
    pub row: usize,
    pub place: usize,
    pub reward: f64,
    pub next_state: Name,
    pub done: bool,
}

/// What training aims at in one step.
struct Aim {
    advantage: f64,
    target: f64,
    old: f64, // logarithm of the action's probability before
}

impl Policy {
    /// A waiting step by names' positions.
    pub(super) fn told(&self, step: &Step) -> Waiting {
        let mut entries = self.rows[step.row].entries();
        Waiting {
            state: step.row,
            action: entries.nth(step.place).expect("a known pair").column,
            reward: step.reward,
            next_state: step.next_state.clone(),
            done: step.done,
        }
    }

    /// Learn from what was collected and forget it; nothing if nothing was, or if there are no rollouts.
    ///
    /// O(epochs * rollout * actions of a state).
    pub fn train(&mut self) {
        let Some(rollouts) = self.rules.rollouts else {
            return;
        };
        let steps = std::mem::take(&mut self.waiting);
        if steps.is_empty() {
            return;
        }
        let aims = self.aims(&steps, &rollouts);
        let mut order: Vec<usize> = (0..steps.len()).collect();
        for _ in 0..rollouts.epochs {
            for i in (1..order.len()).rev() {
                let j = (self.generator.random() * (i + 1) as f64) as usize;
                order.swap(i, j);
            }
            for &i in &order {
                self.improve(&steps[i], &aims[i], rollouts.clip);
            }
        }
    }

    fn aims(&mut self, steps: &[Step], rollouts: &Rollouts) -> Vec<Aim> {
        let mut advantages = self.advantages(steps, rollouts.gae_lambda);
        let worths = steps.iter().map(|step| self.rows[step.row].worth);
        let sums = advantages.iter().zip(worths);
        let targets: Vec<f64> = sums.map(|(advantage, worth)| advantage + worth).collect();
        if rollouts.normalize && steps.len() > 1 {
            normalize(&mut advantages);
        }
        let mut aims = Vec::with_capacity(steps.len());
        for ((step, advantage), target) in steps.iter().zip(advantages).zip(targets) {
            self.softmax.take(self.rows[step.row].preferences());
            aims.push(Aim {
                advantage,
                target,
                old: self.softmax.log(step.place),
            });
        }
        aims
    }

    /// Generalized advantage estimation (Schulman et al. 2016), from the last step to the first.
    fn advantages(&self, steps: &[Step], gae_lambda: f64) -> Vec<f64> {
        let discount = self.rules.discount;
        let decay = discount * gae_lambda;
        let mut advantages = vec![0.0; steps.len()];
        let mut advantage = 0.0;
        for (i, step) in steps.iter().enumerate().rev() {
            let ahead = if step.done {
                0.0
            } else {
                self.worth(step.next_state.key())
            };
            let delta = step.reward + discount * ahead - self.rows[step.row].worth;
            let follows = |next: &Step| *self.states.name(next.row as u32 + 1) == step.next_state;
            let goes_on = !step.done && steps.get(i + 1).is_some_and(follows);
            advantage = if goes_on {
                delta + decay * advantage
            } else {
                delta
            };
            advantages[i] = advantage;
        }
        advantages
    }

    fn improve(&mut self, step: &Step, aim: &Aim, clip: f64) {
        let rules = &self.rules;
        let row = &mut self.rows[step.row];
        self.softmax.take(row.preferences());
        let log_ratio = self.softmax.log(step.place) - aim.old;
        let bounded = if log_ratio > MAX_LOG_RATIO {
            MAX_LOG_RATIO
        } else {
            log_ratio
        };
        let ratio = bounded.exp();
        let clipped = (aim.advantage > 0.0 && ratio > 1.0 + clip)
            || (aim.advantage < 0.0 && ratio < 1.0 - clip);
        let climbed = if clipped {
            0.0
        } else {
            rules.learning_rate * ratio * aim.advantage
        };
        row.climb(step.place, climbed, &self.softmax, rules);
        row.worth += rules.value_learning_rate * (aim.target - row.worth);
    }
}

/// Shift and scale to mean 0 and standard deviation 1, sums from left to right.
fn normalize(values: &mut [f64]) {
    let n = values.len() as f64;
    let mean = values.iter().fold(0.0, |sum, value| sum + value) / n;
    let squares = values.iter().fold(0.0, |sum, value| {
        let difference = value - mean;
        sum + difference * difference
    });
    let deviation = (squares / n).sqrt();
    for value in values {
        *value = (*value - mean) / (deviation + 1e-8);
    }
}
