//! Byte strings to numbers.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::kernels::prefetch;

/// Stands for a part that has no number.
pub const UNKNOWN: u32 = u32::MAX;

/// A place of the table: half of a hash, and the number of what has it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    number: u32, // UNKNOWN: free
}

const FREE: Slot = Slot {
    tag: 0,
    number: UNKNOWN,
};

/// Distinct strings, numbered 0, 1, 2 ... in the order in which they come: open addressing, four slots for three.
///
/// A table of its own, so that many strings can be looked up together: each step for all of them before the next one,
/// which finds in the cache what the step before asked for. One after the other, a query waits for memory at each.
#[derive(Debug)]
pub struct Vocabulary {
    hash: DefaultHashBuilder,
    slots: Vec<Slot>, // a power of two
    starts: Vec<usize>,
    bytes: Vec<u8>,
}

impl Vocabulary {
    pub fn new() -> Self {
        Self {
            hash: DefaultHashBuilder::default(),
            slots: vec![FREE; 16],
            starts: vec![0],
            bytes: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The string of a number.
    pub fn text(&self, number: u32) -> &[u8] {
        let number = number as usize;
        &self.bytes[self.starts[number]..self.starts[number + 1]]
    }

    /// Make room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.starts.reserve(more);
        let wanted = (self.len() + more) * 4 / 3 + 1;
        if wanted > self.slots.len() {
            self.grow(wanted.next_power_of_two());
        }
    }

    fn grow(&mut self, slots: usize) {
        self.slots = vec![FREE; slots];
        for number in 0..self.len() as u32 {
            let hash = self.hash.hash_one(self.text(number));
            self.place(hash, number);
        }
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].number != UNKNOWN {
            at = (at + 1) & mask;
        }
        let tag = (hash >> 32) as u32;
        self.slots[at] = Slot { tag, number };
    }

    /// The number of the first string that has the tag of a hash and for which `fits`; or `UNKNOWN`.
    #[inline]
    fn find(&self, hash: u64, fits: impl Fn(u32) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let Slot { tag, number } = self.slots[at];
            if number == UNKNOWN || tag == (hash >> 32) as u32 && fits(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of a string, a new one if need be.
    pub fn intern(&mut self, text: &[u8]) -> u32 {
        let hash = self.hash.hash_one(text);
        let found = self.find(hash, |number| self.text(number) == text);
        if found != UNKNOWN {
            return found;
        }
        let number = self.len() as u32;
        self.bytes.extend_from_slice(text);
        self.starts.push(self.bytes.len());
        if self.len() * 4 > self.slots.len() * 3 {
            self.grow(2 * self.slots.len());
        } else {
            self.place(hash, number);
        }
        number
    }

    /// Append the numbers of parts, in order; `UNKNOWN` for those that have none.
    pub fn find_all<'p>(
        &self,
        parts: impl Iterator<Item = &'p [u8]> + Clone,
        numbers: &mut Vec<u32>,
    ) {
        let mask = self.slots.len() - 1;
        let hash_of = |part| {
            let hash = self.hash.hash_one::<&[u8]>(part);
            prefetch(&self.slots[hash as usize & mask]);
            hash
        };
        let hashes: Vec<u64> = parts.clone().map(hash_of).collect();
        let first = numbers.len();
        numbers.extend(hashes.iter().map(|&hash| {
            let number = self.find(hash, |_| true);
            if number != UNKNOWN {
                prefetch(&self.starts[number as usize]);
            }
            number
        }));
        for &number in numbers[first..].iter().filter(|&&n| n != UNKNOWN) {
            if let Some(byte) = self.bytes.get(self.starts[number as usize]) {
                prefetch(byte);
            }
        }
        let found = numbers[first..].iter_mut().zip(parts.zip(&hashes));
        for (number, (part, &hash)) in found {
            if *number != UNKNOWN && self.text(*number) != part {
                *number = self.find(hash, |other| self.text(other) == part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_in_order(words in prop::collection::vec("[a-d]{0,3}", 0..300)) {
            let mut known = Vocabulary::new();
            let mut order: Vec<&str> = Vec::new();
            for word in &words {
                let number = known.intern(word.as_bytes()) as usize;
                if number == order.len() {
                    order.push(word);
                }
                prop_assert_eq!(order[number], word);
            }
            for (number, word) in (0..).zip(&order) {
                prop_assert_eq!(known.text(number), word.as_bytes());
            }
            prop_assert_eq!(known.len(), order.len());

            let asked = words.iter().map(|word| word.as_bytes()).chain([&b"other"[..]]);
            let mut found = vec![7];
            known.find_all(asked, &mut found);
            let mut expected: Vec<u32> = words.iter().map(|word| known.intern(word.as_bytes())).collect();
            expected.insert(0, 7);
            expected.push(UNKNOWN);
            prop_assert_eq!(found, expected);
        }
    }
}
