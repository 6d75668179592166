//! PCG64, as NumPy's default generator runs it, so that both backends draw the same rows.

const FACTOR: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

/// PCG XSL RR 128/64 (O'Neill 2014).
#[derive(Clone, Debug, PartialEq)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
}

impl Pcg64 {
    /// A generator from state and increment, the high words first, as `numpy.random.PCG64().state` has them.
    pub fn new(words: [u64; 4]) -> Self {
        let join = |high, low| u128::from(high) << 64 | u128::from(low);
        Self {
            state: join(words[0], words[1]),
            increment: join(words[2], words[3]),
        }
    }

    /// What [`Pcg64::new`] takes.
    pub fn words(&self) -> [u64; 4] {
        let Self { state, increment } = *self;
        [
            (state >> 64) as u64,
            state as u64,
            (increment >> 64) as u64,
            increment as u64,
        ]
    }

    /// A number in `0 .. 1` with 53 random bits: `numpy.random.Generator.random()`.
    #[inline]
    pub fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(FACTOR).wrapping_add(self.increment);
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        let bits = folded.rotate_right((self.state >> 122) as u32);
        (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}
