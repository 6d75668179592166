//! Hybrid hits: two lists of scores as one, as `aqe_core.searching.fuse` computes it, bit for bit.

use hashbrown::HashMap;

use crate::search::Hit;

/// How two lists are weighed.
#[derive(Clone, Copy, Debug)]
pub struct Fusion {
    /// Of the scores by words.
    pub lexical_weight: f64,
    /// Of those by vectors.
    pub vector_weight: f64,
    /// The score at this place of a list counts nothing, as do those after it.
    pub depth: usize,
    /// How many of the best are wanted.
    pub k: usize,
}

/// Fused hits, at most as many as wanted, best first. All of one length.
#[derive(Debug, Default, PartialEq)]
pub struct Fused {
    /// Ties in ascending order of them.
    pub keys: Vec<u64>,
    /// 0 .. 1.
    pub scores: Vec<f64>,
    /// Of the list by words, where it has the key.
    pub lexical: Vec<Option<f64>>,
    /// Of the list by vectors, where it has the key.
    pub vector: Vec<Option<f64>>,
}

/// A key, and what is known of it: its scores by words and by vectors, or NaN.
type Known = (u64, f32, f32);

/// Scales the scores of a list: its best to 1, a lowest one to 0.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    top: f64,
}

impl Scale {
    /// Of the scores of a list in any order, NaN left out. Its lowest is that at a depth, or its last; `low`, if given,
    /// where it does not go down so far.
    fn new(scores: impl Iterator<Item = f32> + Clone, depth: usize, low: Option<f64>) -> Self {
        let listed = scores.filter(|score| !score.is_nan());
        let none = (0, f32::INFINITY, f32::NEG_INFINITY);
        let (n, mut lowest, top) = listed.clone().fold(none, |(n, low, top), score| {
            // Not `f32::min`, which asks each time for what is no number.
            let low = if score < low { score } else { low };
            (n + 1, low, if score > top { score } else { top })
        });
        if n > depth {
            let (at, mut list) = (depth.saturating_sub(1), listed.collect::<Vec<f32>>());
            lowest = *list.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1;
        }
        let lowest = if n > 0 { f64::from(lowest) } else { 0.0 };
        let low = low.filter(|_| n < depth).unwrap_or(lowest);
        let top = if n > 0 { f64::from(top) } else { low };
        Self { low, top }
    }

    fn of(self, score: f32) -> f64 {
        let (score, spread) = (f64::from(score), self.top - self.low);
        if spread > 0.0 {
            ((score - self.low) / spread).max(0.0) // NaN, which is not in the list, becomes 0 too
        } else {
            f64::from(u8::from(score >= self.top))
        }
    }
}

impl Fusion {
    /// Return the best of the union of two lists, each in any order. Keys are distinct in each. O(n + k log k).
    pub fn fuse(self, words: &[Hit], vectors: &[Hit]) -> Fused {
        let mut place: HashMap<u64, usize> = HashMap::with_capacity(words.len());
        let mut known: Vec<Known> = Vec::with_capacity(words.len() + vectors.len());
        for &(key, score) in words {
            place.insert(key, known.len());
            known.push((key, score, f32::NAN));
        }
        for &(key, score) in vectors {
            match place.get(&key) {
                Some(&at) => known[at].2 = score,
                None => known.push((key, f32::NAN, score)),
            }
        }
        self.ranked(&known)
    }

    /// The same where the vectors of no other keys were looked at: their scores, in the order of the words' list, NaN
    /// for a key that has no vector.
    pub fn fuse_each(self, words: &[Hit], vectors: &[f32]) -> Fused {
        let pairs = words.iter().zip(vectors);
        let known: Vec<Known> = pairs
            .map(|(&(key, words), &vector)| (key, words, vector))
            .collect();
        self.ranked(&known)
    }

    fn ranked(self, known: &[Known]) -> Fused {
        // Where fewer have a word of the query, 0 stands for no such word.
        let by_words = Scale::new(known.iter().map(|hit| hit.1), self.depth, Some(0.0));
        let by_vectors = Scale::new(known.iter().map(|hit| hit.2), self.depth, None);
        let whole = self.lexical_weight + self.vector_weight;
        let score_of = |&(_, words, vector): &Known| {
            let sum = self.lexical_weight * by_words.of(words)
                + self.vector_weight * by_vectors.of(vector);
            sum / whole + 0.0 // never minus zero
        };
        // As whole numbers: scores are not below 0, so that their order is that of their bits.
        let order = |hit: &Known| u128::from(!score_of(hit).to_bits()) << 64 | u128::from(hit.0);
        let mut hits: Vec<(u128, &Known)> = known.iter().map(|hit| (order(hit), hit)).collect();
        if self.k < hits.len() {
            hits.select_nth_unstable_by_key(self.k, |hit| hit.0);
            hits.truncate(self.k);
        }
        hits.sort_unstable_by_key(|hit| hit.0);
        let score = |number: u128| f64::from_bits(!((number >> 64) as u64));
        let part = |score: f32| (!score.is_nan()).then(|| f64::from(score));
        Fused {
            keys: hits.iter().map(|(_, hit)| hit.0).collect(),
            scores: hits.iter().map(|&(number, _)| score(number)).collect(),
            lexical: hits.iter().map(|(_, hit)| part(hit.1)).collect(),
            vector: hits.iter().map(|(_, hit)| part(hit.2)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Fusion = Fusion {
        lexical_weight: 1.0,
        vector_weight: 1.0,
        depth: 3,
        k: 100,
    };

    #[test]
    fn a_whole_list_goes_down_to_its_depth() {
        let words = [(7, 5.0), (8, 3.0), (9, 1.0), (10, 0.5)];
        let fused = EVEN.fuse(&words, &[]);
        assert_eq!(fused.keys, [7, 8, 9, 10]);
        assert_eq!(fused.scores, [0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn a_short_list_by_words_goes_down_to_zero() {
        let fused = EVEN.fuse(&[(7, 4.0), (8, 1.0)], &[(8, 0.5), (9, -0.5)]);
        assert_eq!(fused.keys, [8, 7, 9]);
        assert_eq!(fused.scores, [0.625, 0.5, 0.0]);
        assert_eq!(fused.lexical, [Some(1.0), Some(4.0), None]);
        assert_eq!(fused.vector, [Some(0.5), None, Some(-0.5)]);
    }

    #[test]
    fn the_order_of_the_lists_does_not_matter() {
        let words = [(7, 5.0), (8, 3.0), (9, 1.0), (10, 0.5)];
        let vectors = [(8, 0.5), (10, 0.25), (9, -0.5)];
        let fused = EVEN.fuse(&words, &vectors);
        let reversed: Vec<_> = words.iter().rev().copied().collect();
        let of_these = EVEN.fuse_each(&reversed, &[0.25, -0.5, 0.5, f32::NAN]);
        assert_eq!(fused, of_these);
        assert_eq!(fused.keys, [8, 7, 10, 9]);
        assert_eq!(fused.vector, [Some(0.5), None, Some(0.25), Some(-0.5)]);
    }

    #[test]
    fn the_best_are_those_of_the_whole_list() {
        let words: Vec<Hit> = (0..200_u16)
            .map(|i| (u64::from(i * 77 % 200), f32::from(i % 7)))
            .collect();
        let vectors: Vec<Hit> = (100..300_u16)
            .map(|i| (u64::from(i), f32::from(i % 3)))
            .collect();
        let fusion = Fusion {
            depth: 150,
            k: 400,
            ..EVEN
        };
        let whole = fusion.fuse(&words, &vectors);
        assert_eq!(whole.keys.len(), 300);
        for k in [0, 1, 10, 299, 300] {
            let best = Fusion { k, ..fusion }.fuse(&words, &vectors);
            assert_eq!(best.keys, whole.keys[..k]);
            assert_eq!(best.scores, whole.scores[..k]);
        }
    }

    #[test]
    fn equal_scores_come_in_order_of_key() {
        let fused = EVEN.fuse(&[], &[(9, 0.5), (8, 0.5)]);
        assert_eq!((fused.keys, fused.scores), (vec![8, 9], vec![0.5, 0.5]));
        assert_eq!(EVEN.fuse(&[], &[]), Fused::default());
    }
}
