//! The native learners: tabular values and experience replay. No Python inside.

mod bandit;
mod batch;
mod exp;
mod history;
mod homes;
mod journal;
mod keys;
mod learner;
pub mod neural;
mod pcg;
mod prefetch;
pub mod ranker;
pub mod replay;
mod roomy;
pub mod softmax;
mod sums;
mod table;
mod twister;
mod wide;

pub use bandit::{Bandit, LinearModels, Prior};
pub use journal::{Journal, Transition};
pub use keys::{AsKey, Key, Name, Text};
pub use learner::{Column, Learned, Learner, SHARDS, Table, Transitions, Undeclared, shard_of};
pub use pcg::Pcg64;
pub use sums::Sums;
pub use table::{Entry, Rules};
pub use twister::Twister;
