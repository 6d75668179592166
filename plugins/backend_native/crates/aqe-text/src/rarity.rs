//! How rare subtokens are: in the collection that was fitted, and in tests at large as long as that is small.

use hashbrown::HashMap;
use sha3::Shake128;
use sha3::digest::{ExtendableOutput, Update, XofReader};

use crate::interner::{Cut, Interner};
use crate::subtokens::Foreign;

/// Bytes of a digest that are the key; the others are signs.
pub(crate) const KEY_BYTES: usize = 8;
const MAX_TERMS: usize = 200_000;
/// The shipped table counts as so many documents of the collection.
const PRIOR_DOCUMENTS: f64 = 300.0;

/// Fill `out` with the SHAKE-128 of a subtoken.
pub fn digest_of(subtoken: &[u8], out: &mut [u8]) {
    let mut hash = Shake128::default();
    hash.update(subtoken);
    hash.finalize_xof().read(out);
}

/// The key in a digest.
pub fn key_of(digest: &[u8]) -> u64 {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&digest[..KEY_BYTES]);
    u64::from_le_bytes(key)
}

/// In how many of a collection's documents each subtoken occurs.
#[derive(Debug, Default)]
pub struct Rarity {
    n_documents: u64,
    df_of: HashMap<u64, u32>,
}

impl Rarity {
    /// Take how many documents there are, and the frequencies by key.
    pub fn new(n_documents: u64, df_of: impl IntoIterator<Item = (u64, u32)>) -> Self {
        Self {
            n_documents,
            df_of: df_of.into_iter().collect(),
        }
    }

    /// `ln((N + n + 1) / (df + n p + 1)) + 1`: N documents, and n of which the share p has the subtoken.
    pub(crate) fn idf(&self, key: u64, share: f64) -> f64 {
        let once = self.n_documents.min(1) as f64;
        let df = self.df_of.get(&key).map_or(once, |&df| f64::from(df));
        let prior = PRIOR_DOCUMENTS * share;
        ((self.n_documents as f64 + PRIOR_DOCUMENTS + 1.0) / (df + prior + 1.0)).ln() + 1.0
    }
}

/// Count in how many documents (name, text) each subtoken occurs: keys, ascending, and frequencies.
///
/// The 200,000 most frequent are kept (of equally frequent ones those of the smallest key), and none that occurs once.
pub fn count(documents: &[(&[u8], &[u8])], foreign: &Foreign) -> Vec<(u64, u32)> {
    let mut interner = Interner::new(Cut::Subtokens);
    let mut seen: Vec<(u32, u32)> = Vec::new(); // of each subtoken: its last document, from 1 on, and how many
    let mut met = Vec::new();
    for (&(name, text), document) in documents.iter().zip(1..) {
        met.clear();
        interner.number(name, foreign, &mut met);
        interner.number(text, foreign, &mut met);
        for &number in &met {
            if seen.len() <= number as usize {
                seen.resize(number as usize + 1, (0, 0));
            }
            let (last, df) = &mut seen[number as usize];
            if *last != document {
                (*last, *df) = (document, *df + 1);
            }
        }
    }
    let often = (0..).zip(&seen).filter(|(_, (_, df))| *df > 1);
    let mut kept: Vec<(u32, u64)> = often
        .map(|(number, &(_, df))| {
            let mut digest = [0; KEY_BYTES];
            digest_of(interner.text(number), &mut digest);
            (df, key_of(&digest))
        })
        .collect();
    kept.sort_unstable_by_key(|&(df, key)| (std::cmp::Reverse(df), key));
    kept.truncate(MAX_TERMS);
    let mut df_of: Vec<_> = kept.into_iter().map(|(df, key)| (key, df)).collect();
    df_of.sort_unstable();
    // Should two subtokens have one key: the less frequent, as everywhere.
    df_of.dedup_by_key(|&mut (key, _)| key);
    df_of
}
