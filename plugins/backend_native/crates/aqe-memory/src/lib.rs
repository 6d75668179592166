//! The native pattern store: vectors under 64-bit keys, searched by nearness. No Python inside.
//!
//! A row is kept as a 1-bit code in one or two lists, and as 10-bit integers in three planes. A search looks the codes
//! of the nearest lists up in a table made of the query, refines the best by the first plane, and scores what is left
//! by all three. New rows stand in a tail that is scanned whole, until they are merged into the lists.

pub mod append;
pub mod buffer;
pub mod centroids;
pub mod code;
mod draft;
pub mod hnsw;
pub mod kernels;
pub mod keys;
pub mod level;
pub mod list;
pub mod panels;
pub mod planes;
pub mod quantize;
pub mod query;
pub mod random;
pub mod rows;
pub mod scanner;
pub mod search;
pub mod select;
pub mod snapshot;
mod spill;
pub mod state;
pub mod store;
mod tune;

pub use level::Level;
pub use store::{Stats, Store};

/// A vector is not finite, or is zero where only its direction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow;

impl std::fmt::Display for BadRow {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "a vector is not finite, or is zero where only its direction counts"
        )
    }
}

impl std::error::Error for BadRow {}

/// What nearness means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Dot product of unit vectors.
    Cosine,
    /// Dot product.
    Dot,
    /// Minus the squared distance.
    L2,
}

/// What is kept of the vectors beside the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// 10 bits a dimension.
    Planes,
    /// 10 bits and 16.
    Float16,
    /// 10 bits and 32.
    Float32,
}

/// Whether there are lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// From 4,096 rows on.
    Auto,
    /// Never.
    Flat,
    /// From 256 rows on.
    Lists,
    /// Never; from 256 rows on a graph.
    Hnsw,
}

/// How a store is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Dimensions.
    pub dim: usize,
    /// What nearness means.
    pub metric: Metric,
    /// Whether there are lists.
    pub index: Index,
    /// What is kept of the vectors.
    pub keep: Keep,
    /// Recall at 10 that searches are tuned for, above 0 and below 1.
    pub recall: f64,
    /// Of everything that is left to chance.
    pub seed: u64,
    /// For batches and for building.
    pub threads: usize,
    /// Whether lists are built beside the calls, or within them.
    pub background: bool,
    /// Instructions to use.
    pub level: Level,
}
