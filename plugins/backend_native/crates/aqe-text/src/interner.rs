//! Terms to numbers.

use hashbrown::HashMap;

use crate::subtokens::{Foreign, Piece, pieces, subtokens_of, terms_of};

const MAX_CACHED: usize = 1 << 17; // identifiers whose terms are kept
const MAX_CACHED_BYTES: usize = 64;

/// What an identifier is cut into.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Subtokens,
    Terms, // subtokens and joined pairs
}

impl Cut {
    fn each(self, identifier: &[u8], found: impl FnMut(&[u8])) {
        match self {
            Self::Subtokens => subtokens_of(identifier, found),
            Self::Terms => terms_of(identifier, found),
        }
    }
}

/// Numbers terms 0, 1, 2 ... in the order in which they come; knows by heart what identifiers hold.
#[derive(Debug)]
pub struct Interner {
    cut: Cut,
    number_of: HashMap<Box<[u8]>, u32>,
    texts: Vec<Box<[u8]>>,
    cache: HashMap<Box<[u8]>, Box<[u32]>>,
}

impl Interner {
    pub fn new(cut: Cut) -> Self {
        Self {
            cut,
            number_of: HashMap::new(),
            texts: Vec::new(),
            cache: HashMap::new(),
        }
    }

    /// The terms by number.
    pub fn texts(&self) -> &[Box<[u8]>] {
        &self.texts
    }

    /// Make room for so many more terms.
    pub fn reserve(&mut self, more: usize) {
        self.number_of.reserve(more);
        self.texts.reserve(more);
    }

    /// The number of a term, a new one if need be.
    pub fn intern(&mut self, term: &[u8]) -> u32 {
        if let Some(&number) = self.number_of.get(term) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.number_of.insert(term.into(), number);
        self.texts.push(term.into());
        number
    }

    /// Call `found` with the number of each term of a text, repeated as they are.
    pub fn number(&mut self, text: &[u8], foreign: &Foreign, mut found: impl FnMut(u32)) {
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        for piece in pieces(text) {
            match piece {
                Piece::Identifier(identifier) => {
                    if let Some(numbers) = self.cache.get(identifier) {
                        numbers.iter().copied().for_each(&mut found);
                        continue;
                    }
                    let mut numbers = Vec::new();
                    self.cut
                        .each(identifier, |term| numbers.push(self.intern(term)));
                    numbers.iter().copied().for_each(&mut found);
                    if identifier.len() <= MAX_CACHED_BYTES {
                        self.cache.insert(identifier.into(), numbers.into());
                    }
                }
                Piece::Foreign(stretch) => {
                    for term in foreign.get(stretch).into_iter().flatten() {
                        found(self.intern(term));
                    }
                }
            }
        }
    }

    /// The same for terms that have a number already, without the others.
    pub fn known(&self, text: &[u8], foreign: &Foreign, mut found: impl FnMut(u32)) {
        let mut find = |term: &[u8]| {
            self.number_of
                .get(term)
                .copied()
                .into_iter()
                .for_each(&mut found)
        };
        for piece in pieces(text) {
            match piece {
                Piece::Identifier(identifier) => self.cut.each(identifier, &mut find),
                Piece::Foreign(stretch) => {
                    let terms = foreign.get(stretch).into_iter().flatten();
                    terms.for_each(|term| find(term));
                }
            }
        }
    }

    /// Keep the terms for which `is_kept`, with new numbers in the old order.
    pub fn retain(&mut self, is_kept: impl Fn(usize) -> bool) {
        let mut i = 0;
        self.texts.retain(|_| {
            i += 1;
            is_kept(i - 1)
        });
        self.cache.clear();
        self.number_of = self.texts.iter().cloned().zip(0..).collect();
    }
}
