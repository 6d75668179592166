//! Where a replay's transitions lie: each whole in one place, so that drawing one touches as few cache lines as it can.

use super::{Actions, Given, Kept, Options};
use crate::prefetch::prefetch;
use crate::roomy::ask_for_huge_pages;

const REWARD: usize = 0; // two words
const ENDS: usize = 2; // bit 0: terminated, bit 1: ended
const ACTION: usize = 3;
const MOST_LINES: usize = 8; // asked for ahead; what is longer the processor foresees

/// Rows of 32-bit words: reward, ends, action, observation, next observation. What is no float lies there bit for bit.
pub(super) struct Ring {
    words: Vec<f32>,
    stride: usize,
    dim: usize,
    action_dim: usize, // 0: an integer of two words
}

fn split(bits: u64) -> [f32; 2] {
    [bits as u32, (bits >> 32) as u32].map(f32::from_bits)
}

#[inline(always)]
fn join(words: &[f32]) -> u64 {
    u64::from(words[0].to_bits()) | u64::from(words[1].to_bits()) << 32
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    words: &'a [f32],
    first: usize, // where the observation begins
    dim: usize,
}

impl<'a> Row<'a> {
    #[inline(always)]
    pub fn reward(self) -> f64 {
        f64::from_bits(join(&self.words[REWARD..]))
    }

    #[inline(always)]
    pub fn terminated(self) -> bool {
        self.words[ENDS].to_bits() & 1 == 1
    }

    #[inline(always)]
    pub fn ended(self) -> bool {
        self.words[ENDS].to_bits() & 2 == 2
    }

    #[inline(always)]
    pub fn number(self) -> i64 {
        join(&self.words[ACTION..]) as i64
    }

    #[inline(always)]
    pub fn vector(self) -> &'a [f32] {
        &self.words[ACTION..self.first]
    }

    #[inline(always)]
    pub fn observation(self) -> &'a [f32] {
        &self.words[self.first..][..self.dim]
    }

    #[inline(always)]
    pub fn next_observation(self) -> &'a [f32] {
        &self.words[self.first + self.dim..][..self.dim]
    }
}

/// Where rows lie, far from the processor. No loan: rows may go meanwhile, and are asked for in vain.
#[derive(Clone, Copy)]
pub struct Far {
    start: *const f32,
    stride: usize,
}

impl Far {
    /// Ask for a row, without waiting for it.
    #[inline(always)]
    pub fn ask(self, index: i64) {
        let row = (index as usize).wrapping_mul(self.stride);
        let first = self.start.wrapping_add(row);
        for line in (0..self.stride).step_by(16).take(MOST_LINES) {
            prefetch(first.wrapping_add(line));
        }
        prefetch(first.wrapping_add(self.stride - 1));
    }
}

impl Ring {
    pub fn new(options: &Options) -> Self {
        let (dim, action_dim) = (options.observation_dim, options.action_dim);
        let stride = ACTION + if action_dim == 0 { 2 } else { action_dim } + 2 * dim;
        let words = vec![0.0; options.capacity * stride];
        ask_for_huge_pages(&words);
        Self {
            words,
            stride,
            dim,
            action_dim,
        }
    }

    fn first(&self) -> usize {
        self.stride - 2 * self.dim
    }

    #[inline(always)]
    pub fn row(&self, index: usize) -> Row<'_> {
        Row {
            words: &self.words[index * self.stride..][..self.stride],
            first: self.first(),
            dim: self.dim,
        }
    }

    pub fn far(&self) -> Far {
        Far {
            start: self.words.as_ptr(),
            stride: self.stride,
        }
    }

    /// Write the `i`-th of these rows to a place.
    #[inline(always)]
    pub fn set(&mut self, index: usize, given: &Given<'_>, i: usize) {
        let (first, dim, action_dim) = (self.first(), self.dim, self.action_dim);
        let words = &mut self.words[index * self.stride..][..self.stride];
        words[REWARD..ENDS].copy_from_slice(&split(given.rewards[i].to_bits()));
        let ends = u32::from(given.terminated[i]) | u32::from(given.ended[i]) << 1;
        words[ENDS] = f32::from_bits(ends);
        match given.actions {
            Actions::Ints(actions) => {
                words[ACTION..first].copy_from_slice(&split(actions[i] as u64));
            }
            Actions::Vectors(actions) => {
                words[ACTION..first].copy_from_slice(&actions[i * action_dim..][..action_dim]);
            }
        }
        let (before, after) = words[first..].split_at_mut(dim);
        before.copy_from_slice(&given.observations[i * dim..][..dim]);
        after.copy_from_slice(&given.next_observations[i * dim..][..dim]);
    }

    /// The first `n` rows as columns.
    pub fn columns(&self, n: usize) -> Kept {
        let rows = || (0..n).map(|index| self.row(index));
        Kept {
            observations: rows().flat_map(|row| row.observation()).copied().collect(),
            actions: if self.action_dim == 0 {
                Actions::Ints(rows().map(Row::number).collect())
            } else {
                Actions::Vectors(rows().flat_map(|row| row.vector()).copied().collect())
            },
            rewards: rows().map(Row::reward).collect(),
            next_observations: rows()
                .flat_map(|row| row.next_observation())
                .copied()
                .collect(),
            terminated: rows().map(Row::terminated).collect(),
            ended: rows().map(Row::ended).collect(),
        }
    }
}
