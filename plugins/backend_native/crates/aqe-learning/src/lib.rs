//! The native learners: tabular values, replay, bandits. No Python inside.

mod batch;
mod keys;
mod learner;
mod table;
mod twister;

pub use keys::{AsKey, Key, Name};
pub use learner::{Column, Learned, Learner, SHARDS, Table, Transitions, Undeclared, shard_of};
pub use table::{Entry, Rules};
pub use twister::Twister;
