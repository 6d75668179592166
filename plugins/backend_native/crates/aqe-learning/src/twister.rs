//! The Mersenne Twister as Python's `random.Random` runs it, so that both backends draw the same numbers.

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998), seeded and read like `random.Random`.
#[derive(Clone)]
pub struct Twister {
    words: [u32; WORDS],
    position: usize,
}

impl Twister {
    /// Length of [`Twister::state`]: the words and the position among them.
    pub const STATE: usize = WORDS + 1;

    /// The generator that `random.Random(seed)` is.
    pub fn new(seed: u64) -> Self {
        let high = (seed >> 32) as u32;
        let key = [seed as u32, high];
        Self::from_key(if high == 0 { &key[..1] } else { &key })
    }

    /// `init_by_array` of the reference implementation.
    fn from_key(key: &[u32]) -> Self {
        let mut words = [0_u32; WORDS];
        words[0] = 19_650_218;
        for i in 1..WORDS {
            words[i] = mixed(words[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for step in 0..WORDS.max(key.len()) {
            let j = step % key.len();
            words[i] = (words[i] ^ mixed(words[i - 1], 1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i = advanced(&mut words, i);
        }
        for _ in 1..WORDS {
            words[i] = (words[i] ^ mixed(words[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = advanced(&mut words, i);
        }
        words[0] = 0x8000_0000;
        Self {
            words,
            position: WORDS,
        }
    }

    /// The generator in a state that [`Twister::state`] returned; `None` if it is not one.
    pub fn from_state(state: &[u32]) -> Option<Self> {
        let (position, words) = state.split_last()?;
        let position = usize::try_from(*position).ok()?;
        let words = words.try_into().ok()?;
        (position <= WORDS).then_some(Self { words, position })
    }

    /// The words, then the position: the second item of `random.Random.getstate()`.
    pub fn state(&self) -> Vec<u32> {
        let mut state = self.words.to_vec();
        state.push(self.position as u32);
        state
    }

    fn refill(&mut self) {
        let words = &mut self.words;
        for i in 0..WORDS {
            let y = (words[i] & 0x8000_0000) | (words[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            words[i] = words[(i + SHIFT) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.position = 0;
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.position == WORDS {
            self.refill();
        }
        let mut y = self.words[self.position];
        self.position += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number in `0 .. 1` with 53 random bits: `random.Random.random()`.
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.bits() >> 5);
        let low = f64::from(self.bits() >> 6);
        (high * 67_108_864.0 + low) * (1.0 / 9_007_199_254_740_992.0)
    }
}

fn mixed(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

fn advanced(words: &mut [u32; WORDS], i: usize) -> usize {
    if i + 1 < WORDS {
        return i + 1;
    }
    words[0] = words[WORDS - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_python_draws() {
        // [random.Random(seed).random() for _ in range(2)] of Python 3.11.
        for (seed, expected) in [
            (0, [0.844_421_851_525_048_1, 0.757_954_402_940_302_5]),
            (1, [0.134_364_244_112_401_22, 0.847_433_736_937_232_7]),
            (
                u64::MAX,
                [0.021_825_695_401_270_107, 0.338_095_326_861_375_8],
            ),
        ] {
            let mut generator = Twister::new(seed);
            assert_eq!([generator.random(), generator.random()], expected);
        }
    }

    #[test]
    fn goes_on_from_its_state() {
        let mut generator = Twister::new(7);
        for _ in 0..1000 {
            generator.bits();
        }
        let mut other = Twister::from_state(&generator.state()).unwrap();
        for _ in 0..1000 {
            assert_eq!(generator.bits(), other.bits());
        }
    }

    #[test]
    fn refuses_what_is_no_state() {
        let state = Twister::new(1).state();
        assert_eq!(state.len(), Twister::STATE);
        assert!(Twister::from_state(&state[1..]).is_none());
        assert!(Twister::from_state(&[]).is_none());
        let mut late = state;
        late[WORDS] = 625;
        assert!(Twister::from_state(&late).is_none());
    }
}
