//! Names of states and actions, and an index from names to numbers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::sync::OnceLock;

use crate::roomy::ask_for_huge_pages;

/// Integer keys in `0 .. DENSE` are looked up in an array, others by hashing. The array costs four bytes per key of
/// the range that is touched: 32 MiB at most.
const DENSE: i64 = 1 << 23;

/// A name: a 64-bit integer or a text. The integer 1 and the text "1" are two names.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// An integer.
    Int(i64),
    /// Any bytes (Python's texts can hold what UTF-8 cannot), and their hash.
    Text(&'a [u8], u64),
}

impl<'a> Key<'a> {
    /// A text as a key. O(length).
    #[inline]
    pub fn text(bytes: &'a [u8]) -> Self {
        Key::Text(bytes, hash_bytes(bytes))
    }
}

/// What can be read as a [`Key`].
pub trait AsKey: Copy {
    /// The key.
    fn key(&self) -> Key<'_>;
}

impl AsKey for i64 {
    #[inline]
    fn key(&self) -> Key<'_> {
        Key::Int(*self)
    }
}

impl AsKey for Key<'_> {
    #[inline]
    fn key(&self) -> Key<'_> {
        *self
    }
}

/// A name that is owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// An integer.
    Int(i64),
    /// Bytes.
    Text(Text),
}

const SHORT: usize = 22; // as many bytes as there is room for

/// Bytes; short ones lie right here, so that a look at a name is a look at one place.
#[derive(Clone)]
pub struct Text(Bytes);

#[derive(Clone)]
enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        Self(match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                let length = text.len() as u8;
                Bytes::Short { length, bytes }
            }
            None => Bytes::Long(text.into()),
        })
    }
}

impl Deref for Text {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

impl Name {
    /// The name as a key. O(length).
    pub fn key(&self) -> Key<'_> {
        match self {
            Name::Int(number) => Key::Int(*number),
            Name::Text(bytes) => Key::text(bytes),
        }
    }

    #[inline]
    fn is(&self, key: Key<'_>) -> bool {
        match (self, key) {
            (Name::Int(mine), Key::Int(other)) => *mine == other,
            (Name::Text(mine), Key::Text(other, _)) => equal(mine, other),
            _ => false,
        }
    }
}

/// Whether two texts are equal; without a call for short ones.
#[inline]
fn equal(one: &[u8], other: &[u8]) -> bool {
    let n = one.len();
    if n != other.len() || !(8..=16).contains(&n) {
        return one == other;
    }
    let word = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    word(one, 0) == word(other, 0) && word(one, n - 8) == word(other, n - 8)
}

impl From<Key<'_>> for Name {
    fn from(key: Key<'_>) -> Self {
        match key {
            Key::Int(number) => Name::Int(number),
            Key::Text(bytes, _) => Name::Text(bytes.into()),
        }
    }
}

/// Numbers by small integer, 0 where there is none.
#[derive(Default)]
pub(crate) struct Dense(Vec<u32>);

impl Dense {
    /// Whether an integer is small enough.
    #[inline]
    pub fn takes(key: i64) -> bool {
        (0..DENSE).contains(&key)
    }

    /// The numbers of integers, as [`Dense::get`]; say whether all are small enough.
    pub fn get_all(&self, keys: &[i64], numbers: &mut [u32]) -> bool {
        let pairs = numbers.iter_mut().zip(keys);
        let united = keys.iter().fold(0, |united, &key| united | key); // below a power of two if all keys are
        let n = self.0.len(); // a power of two, or 0
        if (united as u64) < n as u64 {
            let within = &self.0[..n];
            pairs.for_each(|(number, &key)| *number = within[key as usize & (n - 1)]);
        } else {
            pairs.for_each(|(number, &key)| *number = self.get(key));
        }
        Self::takes(united)
    }

    /// The number of an integer, 0 if it has none or is not small.
    #[inline]
    pub fn get(&self, key: i64) -> u32 {
        // A negative key is a huge position, where nothing is.
        self.0.get(key as usize).copied().unwrap_or(0)
    }

    /// Give a small integer a number. O(1) amortized over the range.
    pub fn set(&mut self, key: i64, number: u32) {
        let position = key as usize;
        if position >= self.0.len() {
            // A fresh zeroed array: memory that no key touches is never made resident.
            let mut grown = vec![0; (position + 1).next_power_of_two().max(64)];
            ask_for_huge_pages(&grown);
            grown[..self.0.len()].copy_from_slice(&self.0);
            self.0 = grown;
        }
        self.0[position] = number;
    }
}

/// Numbers by name, given in order of appearance from `base` on; 0 stands for none.
pub(crate) struct Index {
    base: u32,
    dense: Dense,
    slots: Vec<Slot>, // open addressing, linear probing, at most half full
    hashed: usize,
    names: Vec<Name>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u32,
    number: u32,
}

impl Index {
    /// An empty index.
    pub fn new(base: u32) -> Self {
        assert!(base > 0, "0 stands for none");
        Self {
            base,
            dense: Dense::default(),
            slots: vec![Slot::default(); 16],
            hashed: 0,
            names: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> &Name {
        &self.names[(number - self.base) as usize]
    }

    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Numbers of the small integers.
    #[inline]
    pub fn dense(&self) -> &Dense {
        &self.dense
    }

    /// The number of a name, or 0. O(1), or O(length) for a text.
    #[inline]
    pub fn find(&self, key: Key<'_>) -> u32 {
        match key {
            Key::Int(number) if Dense::takes(number) => self.dense.get(number),
            Key::Int(number) => self.probe(key, hash_int(number)),
            Key::Text(_, hash) => self.probe(key, hash),
        }
    }

    #[inline]
    fn probe(&self, key: Key<'_>, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut position = first_slot(hash) & mask;
        loop {
            let slot = self.slots[position];
            if slot.number == 0 || (slot.tag == tag(hash) && self.name(slot.number).is(key)) {
                return slot.number;
            }
            position = (position + 1) & mask;
        }
    }

    /// Number a name that has none yet. O(1) amortized, or O(length) for a text.
    pub fn add(&mut self, key: Key<'_>) -> u32 {
        let number = self.add_unfound(key);
        match key {
            Key::Int(small) if Dense::takes(small) => self.dense.set(small, number),
            Key::Int(large) => self.enter(number, hash_int(large)),
            Key::Text(_, hash) => self.enter(number, hash),
        }
        number
    }

    /// Number a name that is not to be found here.
    pub fn add_unfound(&mut self, key: Key<'_>) -> u32 {
        let number = self.base + u32::try_from(self.names.len()).expect("fewer than 2**32 names");
        self.names.push(key.into());
        number
    }

    fn enter(&mut self, number: u32, hash: u64) {
        if 2 * (self.hashed + 1) > self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![Slot::default(); 2 * old.len()];
            for slot in old.iter().filter(|slot| slot.number != 0) {
                let hash = match self.name(slot.number) {
                    Name::Int(number) => hash_int(*number),
                    Name::Text(bytes) => hash_bytes(bytes),
                };
                self.place(slot.number, hash);
            }
        }
        self.place(number, hash);
        self.hashed += 1;
    }

    fn place(&mut self, number: u32, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut position = first_slot(hash) & mask;
        while self.slots[position].number != 0 {
            position = (position + 1) & mask;
        }
        self.slots[position] = Slot {
            tag: tag(hash),
            number,
        };
    }
}

// The highest bits of a hash are left to whoever divides names into groups.
fn first_slot(hash: u64) -> usize {
    (hash >> 20) as usize
}

fn tag(hash: u64) -> u32 {
    hash as u32
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15; // the golden ratio

/// A seed per process: nobody can prepare names that collide.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().build_hasher().finish() | 1)
}

/// Both halves of a product folded into one: each input bit reaches most output bits.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

fn hash_int(number: i64) -> u64 {
    fold(number as u64 ^ seed(), MIX)
}

#[inline]
fn hash_bytes(bytes: &[u8]) -> u64 {
    hash_from(seed(), bytes)
}

/// The hash of bytes from a seed. Each fold multiplies by the golden ratio: by a random number, as some seeds are, bytes
/// that count up fall together.
#[inline]
fn hash_from(seed: u64, bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let half = |at: usize| {
        u64::from(u32::from_le_bytes(
            bytes[at..at + 4].try_into().expect("four bytes"),
        ))
    };
    let n = bytes.len();
    let mut hash = seed ^ (n as u64).wrapping_mul(MIX);
    let mut start = 0;
    while start + 8 < n {
        hash = fold(hash ^ word(start), MIX);
        start += 8;
    }
    // The last one to eight bytes, read as two words that may overlap; the length tells such names apart.
    let last = match n {
        0 => 0,
        1..=3 => u64::from(bytes[0]) | u64::from(bytes[n / 2]) << 8 | u64::from(bytes[n - 1]) << 16,
        4..=7 => half(0) | half(n - 4) << 32,
        _ => word(n - 8),
    };
    fold(hash ^ last, MIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_in_order_and_finds_them() {
        let mut index = Index::new(2);
        let mut texts: Vec<Vec<u8>> = (0..if cfg!(miri) { 20 } else { 300_u32 })
            .map(|i| format!("{i}").into_bytes())
            .collect();
        texts.extend((0..40).map(|length| vec![b'x'; length]));
        let numbers = (0..if cfg!(miri) { 30 } else { 3000_i64 })
            .map(|i| i * 16)
            .chain([-1, i64::MIN, i64::MAX, DENSE, DENSE + 16, -16]);
        let mut names: Vec<Name> = texts
            .iter()
            .map(|text| Name::Text(text.as_slice().into()))
            .collect();
        names.extend(numbers.map(Name::Int));
        for (i, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.key()), 0);
            assert_eq!(index.add(name.key()), i as u32 + 2);
        }
        for (i, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.key()), i as u32 + 2);
            assert_eq!(index.name(i as u32 + 2), name);
        }
        assert_eq!(index.len(), names.len());
    }

    #[test]
    fn texts_are_what_they_were_made_of() {
        assert_eq!(size_of::<Name>(), 24);
        let texts: Vec<Vec<u8>> = (0..40).map(|length| vec![b'x'; length]).collect();
        for text in &texts {
            let own = Text::from(text.as_slice());
            assert_eq!(*own, **text);
            for other in &texts {
                assert_eq!(own.cmp(&Text::from(other.as_slice())), text.cmp(other));
                assert_eq!(equal(&own, other), text == other);
            }
            for i in 0..text.len() {
                let mut changed = text.clone();
                changed[i] = b'y';
                assert!(!equal(&own, &changed));
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "statistics, and slow there")]
    fn hashes_spread_whatever_the_seed() {
        let texts: [fn(u32) -> String; 3] = [
            |i| format!("state {i}"),
            |i| format!("s{i:05}"),
            |i| format!("tests/unit/test_{}.py::test_{}", i / 40, i % 40),
        ];
        for text in texts {
            let texts: Vec<String> = (0..16_000).map(text).collect();
            for i in 0..200_u64 {
                let seed = fold(i + 1, 0xd6e8_feb8_6659_fd93); // of no kin to the hash's own numbers
                let (mut groups, mut slots) = ([0_u32; 16], vec![0_u32; 0x8000]);
                for text in &texts {
                    let hash = hash_from(seed, text.as_bytes());
                    groups[(hash >> 60) as usize] += 1;
                    slots[first_slot(hash) & 0x7fff] += 1;
                }
                assert!(
                    groups.iter().all(|n| (800..1200).contains(n)),
                    "{seed}: {groups:?}"
                );
                let pairs: u32 = slots.iter().map(|n| n * n.saturating_sub(1) / 2).sum();
                assert!(pairs < 5500, "{seed}: {pairs}"); // 3,906 of random ones
            }
        }
    }
}
