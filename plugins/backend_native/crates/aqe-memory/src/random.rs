//! A small seeded generator.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub struct Random(u64);

impl Random {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below n.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// `count` distinct ones of the given numbers, in an order of chance; all of them if there are fewer.
    pub fn sample(&mut self, mut numbers: Vec<u32>, count: usize) -> Vec<u32> {
        let count = count.min(numbers.len());
        for i in 0..count {
            let other = i + self.below(numbers.len() - i);
            numbers.swap(i, other);
        }
        numbers.truncate(count);
        numbers
    }
}
