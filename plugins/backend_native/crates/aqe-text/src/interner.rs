//! Texts to numbers of their terms.

use crate::subtokens::{Foreign, Parts, Piece, pieces};
use crate::vocabulary::{UNKNOWN, Vocabulary};

const MAX_KEPT: usize = 1 << 17; // identifiers whose terms are known by heart
const MAX_KEPT_BYTES: usize = 64;

/// What a text is cut into.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Subtokens,
    Terms, // subtokens and joined pairs
}

/// Numbers terms 0, 1, 2 ... in the order in which they come; knows by heart what identifiers hold.
#[derive(Debug)]
pub struct Interner {
    cut: Cut,
    terms: Vocabulary,
    identifiers: Vocabulary,
    held: Vec<u32>, // the terms of the first identifier, of the second ...
    ends: Vec<usize>,
}

impl Interner {
    pub fn new(cut: Cut) -> Self {
        Self {
            cut,
            terms: Vocabulary::new(),
            identifiers: Vocabulary::new(),
            held: Vec::new(),
            ends: vec![0],
        }
    }

    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// The term of a number.
    pub fn text(&self, number: u32) -> &[u8] {
        self.terms.text(number)
    }

    /// Make room for so many more terms.
    pub fn reserve(&mut self, more: usize) {
        self.terms.reserve(more);
    }

    /// The number of a term, a new one if need be.
    pub fn intern(&mut self, term: &[u8]) -> u32 {
        self.terms.intern(term)
    }

    /// Append the number of each term of a text, repeated as they are; new ones get one.
    pub fn number(&mut self, text: &[u8], foreign: &Foreign, numbers: &mut Vec<u32>) {
        if self.identifiers.len() >= MAX_KEPT {
            self.forget_identifiers();
        }
        let mut found = Vec::with_capacity(text.len() / 4);
        found.extend(pieces(text));
        let identifiers = found.iter().filter_map(|piece| match *piece {
            Piece::Identifier(identifier) => Some(identifier),
            Piece::Foreign(_) => None,
        });
        let mut known = Vec::with_capacity(found.len());
        self.identifiers.find_all(identifiers, &mut known);
        let mut known = known.into_iter();
        for piece in found {
            match piece {
                Piece::Identifier(identifier) => match known.next() {
                    Some(place) if place != UNKNOWN => self.recall(place, numbers),
                    _ => self.number_identifier(identifier, numbers),
                },
                Piece::Foreign(stretch) => {
                    for term in foreign.get(stretch).into_iter().flatten() {
                        numbers.push(self.terms.intern(term));
                    }
                }
            }
        }
    }

    fn recall(&self, place: u32, numbers: &mut Vec<u32>) {
        let place = place as usize;
        numbers.extend_from_slice(&self.held[self.ends[place]..self.ends[place + 1]]);
    }

    fn number_identifier(&mut self, identifier: &[u8], numbers: &mut Vec<u32>) {
        if identifier.len() <= MAX_KEPT_BYTES {
            let place = self.identifiers.intern(identifier);
            if self.ends.len() > place as usize + 1 {
                return self.recall(place, numbers); // since it was looked up
            }
        }
        let (first, mut parts) = (numbers.len(), Parts::default());
        parts.cut(identifier, matches!(self.cut, Cut::Terms));
        self.number_parts(&parts, numbers);
        if identifier.len() <= MAX_KEPT_BYTES {
            self.held.extend_from_slice(&numbers[first..]);
            self.ends.push(self.held.len());
        }
    }

    fn forget_identifiers(&mut self) {
        self.identifiers = Vocabulary::new();
        self.held.clear();
        self.ends.truncate(1);
    }

    /// The same for a text that was cut already.
    pub fn number_parts(&mut self, parts: &Parts, numbers: &mut Vec<u32>) {
        match self.cut {
            Cut::Subtokens => number(&mut self.terms, parts.subtokens(), numbers),
            Cut::Terms => number(&mut self.terms, parts.terms(), numbers),
        }
    }

    /// The same for terms that have a number already, without the others.
    pub fn known(&self, parts: &Parts, numbers: &mut Vec<u32>) {
        match self.cut {
            Cut::Subtokens => self.terms.find_all(parts.subtokens(), numbers),
            Cut::Terms => self.terms.find_all(parts.terms(), numbers),
        }
        numbers.retain(|&number| number != UNKNOWN);
    }

    /// Keep the terms for which `is_kept`, with new numbers in the old order.
    pub fn retain(&mut self, is_kept: impl Fn(usize) -> bool) {
        self.forget_identifiers();
        let old = std::mem::replace(&mut self.terms, Vocabulary::new());
        for number in (0..old.len()).filter(|&number| is_kept(number)) {
            self.terms.intern(old.text(number as u32));
        }
    }
}

fn number<'p>(
    known: &mut Vocabulary,
    parts: impl Iterator<Item = &'p [u8]> + Clone,
    numbers: &mut Vec<u32>,
) {
    let first = numbers.len();
    known.find_all(parts.clone(), numbers);
    for (number, part) in numbers[first..].iter_mut().zip(parts) {
        if *number == UNKNOWN {
            *number = known.intern(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_known_by_heart_is_what_it_was_cut_into(
            texts in prop::collection::vec("[a-cA-C_ ]{0,30}|[a-b]{60,70} [a-b]{60,70}", 1..20),
            terms in any::<bool>(),
        ) {
            let cut = || if terms { Cut::Terms } else { Cut::Subtokens };
            let (mut here, mut there) = (Interner::new(cut()), Interner::new(cut()));
            for (i, text) in texts.iter().chain(&texts).enumerate() {
                let parts = Parts::of(text.as_bytes(), &Foreign::new(), &Foreign::new());
                let (mut found, mut expected) = (Vec::new(), Vec::new());
                here.number(text.as_bytes(), &Foreign::new(), &mut found);
                there.number_parts(&parts, &mut expected);
                prop_assert_eq!(&found, &expected);
                let mut known = Vec::new();
                here.known(&parts, &mut known);
                prop_assert_eq!(found, known);
                if i % 7 == 6 {
                    here.retain(|number| number % 3 > 0);
                    there.retain(|number| number % 3 > 0);
                }
            }
        }
    }
}
