//! Experience replay: a ring of transitions, drawn uniformly or by priority, single or several steps taken together.

mod ring;

use std::mem::MaybeUninit;

use crate::pcg::Pcg64;
use crate::sums::Sums;
pub use ring::Far;
use ring::Ring;

/// So many draws before it is copied, a row is asked for: as many as stay in the first cache.
pub const AHEAD: usize = 32;

/// Priority of a row without error, before the exponent: every row is drawn now and then.
const SMALLEST: f64 = 1e-6;
/// Keeps any sum of priorities finite.
const LARGEST: f64 = 1e100;

/// What a replay is made with; checked by whoever makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Largest number of transitions.
    pub capacity: usize,
    /// Length of an observation.
    pub observation_dim: usize,
    /// Length of an action; 0 where actions are integers.
    pub action_dim: usize,
    /// Copies whose steps are added in turn.
    pub n_envs: usize,
    /// Largest number of successive steps taken together.
    pub n_step: usize,
    /// Of rewards that come later.
    pub discount: f64,
    /// Whether rows are drawn by priority.
    pub prioritized: bool,
    /// 0 is uniform.
    pub priority_exponent: f64,
    /// 1 corrects for priorities in full.
    pub importance_exponent: f64,
    /// Told, not used: the generator comes seeded.
    pub seed: u64,
}

/// Actions of several rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Actions<I, V> {
    /// An integer each.
    Ints(I),
    /// A vector each.
    Vectors(V),
}

/// Transitions, one per row; matrices row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<F, A, R, B> {
    /// Before the step.
    pub observations: F,
    /// What was done.
    pub actions: A,
    /// What it brought.
    pub rewards: R,
    /// After the step.
    pub next_observations: F,
    /// The task ended.
    pub terminated: B,
    /// The episode ended, for this or another reason.
    pub ended: B,
}

/// Rows that are borrowed.
pub type Given<'a> = Rows<&'a [f32], Actions<&'a [i64], &'a [f32]>, &'a [f64], &'a [bool]>;
/// Rows that are owned.
pub type Kept = Rows<Vec<f32>, Actions<Vec<i64>, Vec<f32>>, Vec<f64>, Vec<bool>>;

/// Where drawn rows go; whatever is there is overwritten.
pub struct Drawn<'a> {
    /// Before the step.
    pub observations: &'a mut [MaybeUninit<f32>],
    /// What was done.
    pub actions: Actions<&'a mut [MaybeUninit<i64>], &'a mut [MaybeUninit<f32>]>,
    /// Discounted sum over the steps taken together.
    pub rewards: &'a mut [MaybeUninit<f64>],
    /// After the last of them.
    pub next_observations: &'a mut [MaybeUninit<f32>],
    /// The last of them ended the task.
    pub terminated: &'a mut [MaybeUninit<bool>],
    /// Of the value of what comes after.
    pub discounts: &'a mut [MaybeUninit<f64>],
}

impl Drawn<'_> {
    /// Whether there is room for so many rows, and no more.
    fn has_room_for(&self, n: usize, dim: usize, action_dim: usize) -> bool {
        let actions = match &self.actions {
            Actions::Ints(actions) => action_dim == 0 && actions.len() == n,
            Actions::Vectors(actions) => action_dim > 0 && actions.len() == n * action_dim,
        };
        let matrices = [&self.observations, &self.next_observations];
        let columns = [
            self.rewards.len(),
            self.terminated.len(),
            self.discounts.len(),
        ];
        actions && matrices.iter().all(|matrix| matrix.len() == n * dim) && columns == [n; 3]
    }
}

/// Write as many as there are, from the start on.
#[inline(always)]
fn put<T: Copy>(into: &mut [MaybeUninit<T>], items: &[T]) {
    for (place, &item) in into[..items.len()].iter_mut().zip(items) {
        place.write(item);
    }
}

/// The ring.
pub struct Replay {
    options: Options,
    rows: Ring,
    head: usize, // where the next row goes
    size: usize,
    fresh: usize, // rows before the head that the sums do not know yet
    highest: f64, // largest weight so far
    sums: Option<Sums>,
    random: Pcg64,
}

impl Replay {
    /// An empty ring.
    pub fn new(options: Options, random: Pcg64) -> Self {
        Self {
            rows: Ring::new(&options),
            head: 0,
            size: 0,
            fresh: 0,
            highest: 1.0,
            sums: options.prioritized.then(|| Sums::new(options.capacity)),
            random,
            options,
        }
    }

    /// Whether there is memory for so many rows of this kind.
    pub fn affordable(options: &Options, rows: usize) -> bool {
        let numbers = 2 * options.observation_dim as u128 + options.action_dim as u128;
        let bytes = rows as u128 * (4 * numbers + 64);
        usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Number of rows kept.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Where the next row goes.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Largest weight so far.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// The generator.
    pub fn random(&self) -> &Pcg64 {
        &self.random
    }

    /// All rows kept, in the order of the ring. O(rows).
    pub fn rows(&self) -> Kept {
        self.rows.columns(self.size)
    }

    /// Keep rows in order; the columns fit. O(rows).
    pub fn add(&mut self, given: &Given<'_>) {
        let (n, capacity) = (given.rewards.len(), self.options.capacity);
        let skipped = n.saturating_sub(capacity); // would be overwritten at once
        self.head = (self.head + skipped) % capacity;
        for i in skipped..n {
            self.rows.set(self.head, given, i);
            self.head = if self.head + 1 == capacity {
                0
            } else {
                self.head + 1
            };
        }
        let added = n - skipped;
        self.size = (self.size + added).min(capacity);
        self.fresh = (self.fresh + added).min(capacity);
    }

    /// Draw rows with replacement, where there is one: where they lie. O(draws), with priorities O(draws log len).
    ///
    /// `room` is room for as many numbers. What is returned asks for rows.
    pub fn draw(&mut self, indices: &mut [i64], room: &mut [f64]) -> Far {
        self.enter_fresh();
        let (m, size, random) = (indices.len(), self.size as f64, &mut self.random);
        let Some(sums) = &self.sums else {
            indices.fill_with(|| (random.random() * size) as i64);
            return self.rows.far();
        };
        let part = sums.total() / m as f64;
        for (i, target) in room.iter_mut().enumerate() {
            *target = (i as f64 + random.random()) * part;
        }
        sums.find_all(room, indices);
        self.rows.far()
    }

    /// The importance weights of rows that were drawn. O(rows).
    pub fn weigh(&self, indices: &[i64], weights: &mut [f64], exponent: f64) {
        let Some(sums) = &self.sums else {
            weights.fill(1.0);
            return;
        };
        let scale = self.size as f64 / sums.total();
        let mut largest = 0.0_f64;
        for (weight, &index) in weights.iter_mut().zip(indices) {
            *weight = (sums.weight(index as usize) * scale).powf(-exponent);
            largest = largest.max(*weight);
        }
        weights.iter_mut().for_each(|weight| *weight /= largest);
    }

    /// Copy rows that were drawn, to exactly as much room. O(rows n_step).
    ///
    /// The first [`AHEAD`] of them were asked for.
    pub fn copy(&self, indices: &[i64], into: &mut Drawn<'_>) {
        let (rows, far, options) = (&self.rows, self.rows.far(), &self.options);
        let (dim, width) = (options.observation_dim, options.action_dim);
        assert!(into.has_room_for(indices.len(), dim, width));
        for (i, &index) in indices.iter().enumerate() {
            if let Some(&index) = indices.get(i + AHEAD) {
                far.ask(index);
            }
            let row = rows.row(index as usize);
            put(&mut into.observations[i * dim..], row.observation());
            match &mut into.actions {
                Actions::Ints(actions) => put(&mut actions[i..], &[row.number()]),
                Actions::Vectors(actions) => put(&mut actions[i * width..], row.vector()),
            }
            let (last, reward, discount) = if options.n_step > 1 {
                let (last, reward, discount) = self.ahead(index as usize);
                (rows.row(last), reward, discount)
            } else {
                (row, row.reward(), options.discount)
            };
            into.rewards[i].write(reward);
            put(
                &mut into.next_observations[i * dim..],
                last.next_observation(),
            );
            into.terminated[i].write(last.terminated());
            into.discounts[i].write(if last.terminated() { 0.0 } else { discount });
        }
    }

    fn enter_fresh(&mut self) {
        let Some(sums) = &mut self.sums else { return };
        let start = (self.head + self.options.capacity - self.fresh) % self.options.capacity;
        let end = start + self.fresh;
        sums.fill(start, end.min(self.options.capacity), self.highest);
        sums.fill(0, end.saturating_sub(self.options.capacity), self.highest);
        self.fresh = 0;
    }

    /// The last row of up to `n_step` successive ones, their discounted reward, and the discount after.
    #[inline]
    fn ahead(&self, first: usize) -> (usize, f64, f64) {
        let Options {
            capacity,
            n_envs,
            n_step,
            discount,
            ..
        } = self.options;
        let reward_at = |index| self.rows.row(index).reward();
        let (mut reward, mut factor, mut last) = (reward_at(first), discount, first);
        let oldest = if self.size == capacity { self.head } else { 0 };
        // How many more steps of the same copy were added after it.
        let age = self.size - 1 - (first + capacity - oldest) % capacity;
        for _ in 0..(age / n_envs).min(n_step - 1) {
            if self.rows.row(last).ended() {
                break;
            }
            last = (last + n_envs) % capacity;
            reward += factor * reward_at(last);
            factor *= discount;
        }
        (last, reward, factor)
    }

    /// Set priorities by errors, in order; the rows are there and priorities are drawn by. O(rows log len).
    pub fn set_errors(&mut self, indices: &[i64], errors: &[f64]) {
        if indices.is_empty() {
            return;
        }
        self.enter_fresh();
        let exponent = self.options.priority_exponent;
        for (&index, error) in indices.iter().zip(errors) {
            let weight = (error.abs().min(LARGEST) + SMALLEST).powf(exponent);
            self.highest = self.highest.max(weight);
            if let Some(sums) = &mut self.sums {
                sums.set(index as usize, weight);
            }
        }
    }

    /// The weights of all rows, where rows are drawn by priority.
    pub fn weights(&mut self) -> Option<Vec<f64>> {
        self.enter_fresh();
        let sums = self.sums.as_ref()?;
        Some((0..self.size).map(|index| sums.weight(index)).collect())
    }

    /// Go on from where an exported ring was, into which all its rows were added.
    pub fn resume(&mut self, head: usize, highest: f64, weights: Option<&[f64]>) {
        self.head = head;
        self.highest = highest;
        if let (Some(sums), Some(weights)) = (&mut self.sums, weights) {
            weights
                .iter()
                .enumerate()
                .for_each(|(index, &weight)| sums.set(index, weight));
            self.fresh = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(capacity: usize, prioritized: bool) -> Replay {
        let options = Options {
            capacity,
            observation_dim: 1,
            action_dim: 0,
            n_envs: 1,
            n_step: 1,
            discount: 0.5,
            prioritized,
            priority_exponent: 1.0,
            importance_exponent: 0.5,
            seed: 0,
        };
        Replay::new(options, Pcg64::new([1, 2, 3, 5]))
    }

    fn add(replay: &mut Replay, numbers: std::ops::Range<i64>) {
        let ints: Vec<i64> = numbers.collect();
        let seen: Vec<f32> = ints.iter().map(|&number| number as f32).collect();
        let rewards: Vec<f64> = ints.iter().map(|&number| number as f64).collect();
        let no = vec![false; ints.len()];
        replay.add(&Rows {
            observations: &seen,
            actions: Actions::Ints(&ints),
            rewards: &rewards,
            next_observations: &seen,
            terminated: &no,
            ended: &no,
        });
    }

    /// Indices, weights and actions of `m` draws.
    fn sample(replay: &mut Replay, m: usize, exponent: f64) -> (Vec<i64>, Vec<f64>, Vec<i64>) {
        let (mut indices, mut weights) = (vec![0; m], vec![0.0; m]);
        replay.draw(&mut indices, &mut weights);
        replay.weigh(&indices, &mut weights, exponent);
        let mut actions = Vec::with_capacity(m);
        let (mut seen, mut after) = (Vec::with_capacity(m), Vec::with_capacity(m));
        let (mut rewards, mut discounts) = (Vec::with_capacity(m), Vec::with_capacity(m));
        let mut terminated = Vec::with_capacity(m);
        let mut into = Drawn {
            observations: &mut seen.spare_capacity_mut()[..m],
            actions: Actions::Ints(&mut actions.spare_capacity_mut()[..m]),
            rewards: &mut rewards.spare_capacity_mut()[..m],
            next_observations: &mut after.spare_capacity_mut()[..m],
            terminated: &mut terminated.spare_capacity_mut()[..m],
            discounts: &mut discounts.spare_capacity_mut()[..m],
        };
        replay.copy(&indices, &mut into);
        // SAFETY: all were written; under miri this shows.
        unsafe {
            actions.set_len(m);
            seen.set_len(m);
            after.set_len(m);
            rewards.set_len(m);
            discounts.set_len(m);
            terminated.set_len(m);
        }
        assert!(terminated.iter().all(|&terminated: &bool| !terminated));
        assert!(discounts.iter().all(|&discount: &f64| discount == 0.5));
        let told = actions.iter().zip(&rewards).zip(seen.iter().zip(&after));
        for ((&action, &reward), (&seen, &after)) in told {
            assert_eq!(
                [f64::from(seen), f64::from(after), reward],
                [action as f64; 3]
            );
        }
        (indices, weights, actions)
    }

    #[test]
    fn keeps_the_newest() {
        for prioritized in [false, true] {
            for parts in [vec![10, 1], vec![7, 7], vec![3, 25], vec![0, 30]] {
                let mut replay = replay(10, prioritized);
                let mut total = 0;
                for part in parts {
                    add(&mut replay, total..total + part);
                    total += part;
                }
                let (_, _, mut actions) = sample(&mut replay, 300, 0.5);
                actions.sort_unstable();
                actions.dedup();
                assert_eq!(actions, (total - 10..total).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn draws_in_proportion() {
        let mut replay = replay(8, true);
        add(&mut replay, 0..4);
        replay.set_errors(&[0, 1, 2, 3], &[1.0, -2.0, 3.0, 4.0]);
        let (indices, weights, actions) = sample(&mut replay, 1000, 1.0);
        assert_eq!(indices, actions);
        for (row, expected) in [100, 200, 300, 400].into_iter().enumerate() {
            let n = indices.iter().filter(|&&index| index == row as i64).count();
            assert!(n.abs_diff(expected) <= 1); // one draw in each of 1000 equal parts
        }
        assert!((weights[0] - 1.0).abs() < 1e-12); // of the rarest
        assert!((weights[999] - 0.25).abs() < 1e-5);
    }
}
