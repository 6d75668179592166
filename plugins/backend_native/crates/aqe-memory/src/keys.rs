//! From keys to row numbers: open addressing over the keys that the rows hold.

use crate::kernels::prefetch;

const EMPTY: u32 = u32::MAX;

/// Row numbers by key, four bytes a place. The keys themselves stand with the rows.
#[derive(Debug, Default)]
pub struct KeyMap {
    places: Vec<u32>,
    len: usize,
}

fn mixed(key: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl KeyMap {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn home(&self, key: u64) -> usize {
        // Multiplication instead of a remainder (Lemire 2019): any number of places will do.
        ((u128::from(mixed(key)) * self.places.len() as u128) >> 64) as usize
    }

    fn next(&self, place: usize) -> usize {
        if place + 1 == self.places.len() {
            0
        } else {
            place + 1
        }
    }

    fn find(&self, key: u64, keys: &[u64]) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(key);
        while self.places[place] != EMPTY {
            if keys[self.places[place] as usize] == key {
                return Some(place);
            }
            place = self.next(place);
        }
        None
    }

    /// The row of a key.
    pub fn get(&self, key: u64, keys: &[u64]) -> Option<u32> {
        self.find(key, keys).map(|place| self.places[place])
    }

    /// Ask for what looking up a key will read first.
    pub fn prefetch(&self, key: u64) {
        if !self.places.is_empty() {
            prefetch(&self.places[self.home(key)..][..1]);
        }
    }

    /// Enter a key that is not there; `keys[row]` is the key already.
    pub fn insert(&mut self, row: u32, keys: &[u64]) {
        if 4 * (self.len + 1) > 3 * self.places.len() {
            self.reserve(self.len + self.len / 2 + 16, keys);
        }
        self.place(row, keys);
        self.len += 1;
    }

    fn place(&mut self, row: u32, keys: &[u64]) {
        let mut place = self.home(keys[row as usize]);
        while self.places[place] != EMPTY {
            place = self.next(place);
        }
        self.places[place] = row;
    }

    /// Make room for this many keys.
    pub fn reserve(&mut self, len: usize, keys: &[u64]) {
        let wanted = len + len / 3 + 2;
        if wanted > self.places.len() {
            let old = std::mem::replace(&mut self.places, vec![EMPTY; wanted]);
            for row in old.into_iter().filter(|&row| row != EMPTY) {
                self.place(row, keys);
            }
        }
    }

    /// Take a key out and return its row. Later entries move up, so that no marks are left.
    pub fn remove(&mut self, key: u64, keys: &[u64]) -> Option<u32> {
        let mut hole = self.find(key, keys)?;
        let row = self.places[hole];
        let n = self.places.len();
        let mut place = self.next(hole);
        while self.places[place] != EMPTY {
            let home = self.home(keys[self.places[place] as usize]);
            // It may move if its home is not between the hole and its place.
            if (place + n - home) % n >= (place + n - hole) % n {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.next(place);
        }
        self.places[hole] = EMPTY;
        self.len -= 1;
        Some(row)
    }

    /// Rows of all keys, in no order.
    pub fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().copied().filter(|&row| row != EMPTY)
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.places.capacity()
    }
}
