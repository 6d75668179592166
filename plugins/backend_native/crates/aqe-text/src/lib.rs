//! The native text half: subtokens, embedding, BM25. No Python inside.
//!
//! Everything here returns what the NumPy backend returns, bit for bit: the same cuts, the same rounding of weights to
//! fractions whose sums are exact in any order. Texts are bytes of UTF-8, with surrogates encoded like other
//! characters, as Python's error handler `surrogatepass` writes them.
//!
//! Which characters beyond ASCII are letters, and how they normalise, is left to the caller (see [`Foreign`]): it
//! depends on a version of the Unicode database, and two versions in one process would not agree.

mod embedder;
mod fusion;
mod index;
mod interner;
mod kernels;
mod postings;
mod rarity;
mod search;
mod subtokens;
mod vocabulary;

pub use embedder::{Shipped, Sums};
pub use fusion::{Fused, Fusion};
pub use index::{Index, Packed, Rules};
pub use rarity::{Rarity, count, digest_of, key_of};
pub use search::Hit;
pub use subtokens::{Foreign, Parts, Piece, pieces, subtokens_of, terms_of};
